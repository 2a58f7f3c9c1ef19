//! Files, which among the original clients only Windows sends and takes.

use std::net::SocketAddr;

use bytes::Bytes;
use im_e2e::originals::Original;
use im_proto_teamtalk::base::{
    ClientFileRole, ClientFileState, IpAddr, OfflineFileInfo, TransferFileType,
};
use im_proto_teamtalk::file::{
    ImFileAddOfflineReq, ImFileDelOfflineReq, ImFileHasOfflineReq, ImFileHasOfflineRsp,
    ImFileLoginReq, ImFileLoginRsp, ImFileNotify, ImFilePullDataReq, ImFilePullDataRsp, ImFileReq,
    ImFileRsp, ImFileState,
};

use crate::files::client::{
    BLOCK, Done, Download, NAME, Offline, Online, PeerReady, Recver, Sender, Upload,
};
use crate::support::*;

/// What Windows asks for at first, bytes.
const FIRST: u32 = 34_816;

/// A file on its way.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) file: Bytes,
    mode: TransferFileType,
    at: SocketAddr,
    id: String,
}

impl Task {
    fn size(&self) -> u32 {
        u32::try_from(self.file.len()).unwrap()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        vec![IpAddr {
            ip: self.at.ip().to_string(),
            port: self.at.port().into(),
        }]
    }
}

/// Asks for a task (0x0506) at this file server. The answer has the sender's path unchanged: Windows opens it
/// again by that.
pub(crate) async fn offers(
    client: &mut Original,
    to: u32,
    file: &Bytes,
    mode: TransferFileType,
    at: SocketAddr,
) -> Task {
    let mut task = Task {
        from: client.user(),
        to,
        file: file.clone(),
        mode,
        at,
        id: String::new(),
    };
    let request = ImFileReq {
        from_user_id: client.named(),
        to_user_id: to,
        file_name: NAME.to_owned(),
        file_size: task.size(),
        trans_mode: mode.into(),
    };
    let expected = |got: &ImFileRsp| {
        assert_eq!(got.task_id.len(), 36, "a UUID: {}", got.task_id);
        ImFileRsp {
            result_code: 0,
            from_user_id: task.from,
            to_user_id: to,
            file_name: NAME.to_owned(),
            task_id: got.task_id.clone(),
            ip_addr_list: task.addresses(),
            trans_mode: mode.into(),
        }
    };
    let got = client.ask(Command::FileReq, &request, expected).await;
    task.id = got.task_id;
    task
}

/// The receiver's PC is told of a task (0x0508): that it begins, or that the file is ready.
pub(crate) async fn is_offered(client: &mut Original, task: &Task, ready: u32) {
    let expected = |_: &ImFileNotify| ImFileNotify {
        from_user_id: task.from,
        to_user_id: task.to,
        file_name: NAME.to_owned(),
        file_size: task.size(),
        task_id: task.id.clone(),
        ip_addr_list: task.addresses(),
        trans_mode: task.mode.into(),
        offline_ready: ready,
    };
    client.notice(Command::FileNotify, expected).await;
}

/// Comes to the file server with a task (0x0501).
async fn comes(client: &Original, task: &Task, role: ClientFileRole) -> Original {
    let mut there = client.at_file_server(task.at).await;
    let request = ImFileLoginReq {
        user_id: there.user(),
        task_id: task.id.clone(),
        file_role: role.into(),
    };
    let expected = |_: &ImFileLoginRsp| ImFileLoginRsp {
        result_code: 0,
        task_id: task.id.clone(),
    };
    there.ask(Command::FileLoginReq, &request, expected).await;
    there
}

/// Is told how the transfer stands (0x0503), by or about this person.
async fn stands(there: &mut Original, task: &Task, state: ClientFileState, user: u32) {
    let expected = |_: &ImFileState| ImFileState {
        state: state.into(),
        task_id: task.id.clone(),
        user_id: user,
    };
    there.notice(Command::FileState, expected).await;
}

fn pull(task: &Task, user: u32, offset: u32, size: u32) -> ImFilePullDataReq {
    ImFilePullDataReq {
        task_id: task.id.clone(),
        user_id: user,
        trans_mode: task.mode.into(),
        offset,
        data_size: size,
    }
}

fn block(task: &Task, user: u32, offset: u32, size: u32) -> ImFilePullDataRsp {
    let start = usize::try_from(offset).unwrap();
    let end = task.file.len().min(start + usize::try_from(size).unwrap());
    ImFilePullDataRsp {
        result_code: 0,
        task_id: task.id.clone(),
        user_id: user,
        offset,
        file_data: task.file.slice(start..end),
    }
}

/// Both come to the file server, and the receiver pulls the file from the sender block by block.
pub(crate) async fn passes(sender: &Original, receiver: &Original, task: &Task) {
    let mut from = comes(sender, task, Sender).await;
    let mut to = comes(receiver, task, Recver).await;
    stands(&mut to, task, PeerReady, task.from).await;
    let (mut offset, mut wanted) = (0, FIRST);
    while offset < task.size() {
        let request = pull(task, task.to, offset, wanted);
        let seq = to.send(Command::FilePullDataReq, &request).await;
        let expected = |_: &ImFilePullDataReq| request.clone();
        from.answer(Command::FilePullDataReq, seq, expected).await;
        let given = block(task, task.from, offset, wanted);
        from.send_under(Command::FilePullDataRsp, seq, &given).await;
        let expected = |_: &ImFilePullDataRsp| given.clone();
        to.answer(Command::FilePullDataRsp, seq, expected).await;
        wanted = u32::try_from(given.file_data.len()).unwrap();
        offset += wanted;
    }
    says(&mut to, task, Done).await;
    to.closed(&[]).await;
    stands(&mut from, task, Done, task.to).await;
    from.closed(&[]).await;
}

/// Says how the transfer stands (0x0503).
async fn says(there: &mut Original, task: &Task, state: ClientFileState) {
    let state = ImFileState {
        state: state.into(),
        task_id: task.id.clone(),
        user_id: there.user(),
    };
    there.send(Command::FileState, &state).await;
}

/// Uploads a file that waits for its receiver, and says so at the msg server (0x050b).
pub(crate) async fn stores(client: &mut Original, task: &Task) {
    let mut there = comes(client, task, Upload).await;
    let mut offset = 0;
    while offset < task.size() {
        let size = BLOCK.min(task.size() - offset);
        let expected = |_: &ImFilePullDataReq| pull(task, task.from, offset, size);
        there.notice(Command::FilePullDataReq, expected).await;
        let given = block(task, task.from, offset, size);
        there.send(Command::FilePullDataRsp, &given).await;
        offset += size;
    }
    stands(&mut there, task, Done, task.from).await;
    there.closed(&[]).await;
    let added = ImFileAddOfflineReq {
        from_user_id: client.named(),
        to_user_id: task.to,
        task_id: task.id.clone(),
        file_name: NAME.to_owned(),
        file_size: task.size(),
    };
    client.send(Command::FileAddOfflineReq, &added).await;
}

/// Asks which files wait (0x0509).
pub(crate) async fn asks_files(client: &mut Original, at: SocketAddr, waiting: &[&Task]) {
    let user_id = client.user();
    let request = ImFileHasOfflineReq {
        user_id: client.named(),
        attach_data: None,
    };
    let file = |task: &&Task| OfflineFileInfo {
        from_user_id: task.from,
        task_id: task.id.clone(),
        file_name: NAME.to_owned(),
        file_size: task.size(),
    };
    let expected = |_: &ImFileHasOfflineRsp| ImFileHasOfflineRsp {
        user_id,
        offline_file_list: waiting.iter().map(file).collect(),
        ip_addr_list: vec![IpAddr {
            ip: at.ip().to_string(),
            port: at.port().into(),
        }],
        attach_data: None,
    };
    client
        .ask(Command::FileHasOfflineReq, &request, expected)
        .await;
}

/// Fetches a file that waits: first asks for 34 KiB, then for as much as came; and says that it has it
/// (0x050c), naming who sent it.
pub(crate) async fn fetches(client: &mut Original, task: &Task) {
    let mut there = comes(client, task, Download).await;
    let (mut offset, mut wanted) = (0, FIRST);
    while offset < task.size() {
        let request = pull(task, task.to, offset, wanted);
        let seq = there.send(Command::FilePullDataReq, &request).await;
        let expected = |_: &ImFilePullDataRsp| block(task, task.to, offset, wanted.min(BLOCK));
        let got = there.answer(Command::FilePullDataRsp, seq, expected).await;
        wanted = u32::try_from(got.file_data.len()).unwrap();
        offset += wanted;
    }
    stands(&mut there, task, Done, task.from).await;
    there.closed(&[]).await;
    let deleted = ImFileDelOfflineReq {
        from_user_id: task.from,
        to_user_id: client.named(),
        task_id: task.id.clone(),
    };
    client.send(Command::FileDelOfflineReq, &deleted).await;
}

/// Online.
pub(crate) const DIRECT: TransferFileType = Online;
/// For somebody who is not there.
pub(crate) const STORED: TransferFileType = Offline;
