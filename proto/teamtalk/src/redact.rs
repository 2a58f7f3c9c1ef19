//! `Debug` for the messages that carry a password or a push token: a message may end up in a log
//! line, its secret may not.

use std::fmt;

use crate::base::{PushResult, UserTokenInfo};
use crate::login::{ImDeviceTokenReq, ImLoginReq};
use crate::server::ImValidateReq;

const REDACTED: &str = "[redacted]";

impl fmt::Debug for ImLoginReq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImLoginReq")
            .field("user_name", &self.user_name)
            .field("password", &REDACTED)
            .field("online_status", &self.online_status)
            .field("client_type", &self.client_type)
            .field("client_version", &self.client_version)
            .field("features", &self.features)
            .finish()
    }
}

impl fmt::Debug for ImValidateReq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImValidateReq")
            .field("user_name", &self.user_name)
            .field("password", &REDACTED)
            .field("attach_data", &self.attach_data)
            .finish()
    }
}

impl fmt::Debug for ImDeviceTokenReq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImDeviceTokenReq")
            .field("user_id", &self.user_id)
            .field("device_token", &REDACTED)
            .field("client_type", &self.client_type)
            .field("attach_data", &self.attach_data)
            .finish()
    }
}

impl fmt::Debug for UserTokenInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserTokenInfo")
            .field("user_id", &self.user_id)
            .field("user_type", &self.user_type)
            .field("token", &REDACTED)
            .field("push_count", &self.push_count)
            .field("push_type", &self.push_type)
            .finish()
    }
}

impl fmt::Debug for PushResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushResult")
            .field("user_token", &REDACTED)
            .field("result_code", &self.result_code)
            .finish()
    }
}
