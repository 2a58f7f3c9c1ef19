//! Requests about files.

use im_codec::Command;
use im_core::UserId;
use im_proto_teamtalk::base::TransferFileType;
use im_proto_teamtalk::file::{
    ImFileAddOfflineReq, ImFileDelOfflineReq, ImFileHasOfflineReq, ImFileHasOfflineRsp, ImFileReq,
    ImFileRsp,
};

use super::{Answer, Client};

/// A file for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOffer {
    /// Who shall get it.
    pub to: UserId,
    /// Name, or the sender's full path.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Directly, or stored until it is fetched.
    pub mode: TransferFileType,
}

/// Files, as far as msg servers answer.
impl Client {
    /// Asks for a transfer.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn offer_file(&self, offer: &FileOffer) -> Answer<ImFileRsp> {
        let request = ImFileReq {
            from_user_id: self.named(),
            to_user_id: offer.to.get(),
            file_name: offer.name.clone(),
            file_size: offer.size,
            trans_mode: offer.mode as i32,
        };
        self.request(Command::FileReq, &request).await
    }

    /// Files that wait for this user.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn offline_files(&self) -> Answer<ImFileHasOfflineRsp> {
        let request = ImFileHasOfflineReq {
            user_id: self.named(),
            attach_data: None,
        };
        self.request(Command::FileHasOfflineReq, &request).await
    }

    /// Says that a file was uploaded for somebody. Has no answer.
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub async fn add_offline_file(&self, offer: &FileOffer, task_id: &str) -> Answer<()> {
        let message = ImFileAddOfflineReq {
            from_user_id: self.named(),
            to_user_id: offer.to.get(),
            task_id: task_id.to_owned(),
            file_name: offer.name.clone(),
            file_size: offer.size,
        };
        self.notify(Command::FileAddOfflineReq, &message).await
    }

    /// Says that a waiting file was fetched or refused. Has no answer.
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub async fn delete_offline_file(&self, from: UserId, task_id: &str) -> Answer<()> {
        let message = ImFileDelOfflineReq {
            from_user_id: from.get(),
            to_user_id: self.named(),
            task_id: task_id.to_owned(),
        };
        self.notify(Command::FileDelOfflineReq, &message).await
    }
}
