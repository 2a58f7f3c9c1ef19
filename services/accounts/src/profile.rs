//! People as clients see them.

use im_proto_teamtalk::base::UserInfo;
use im_store::UserProfile;

/// All eleven fields; the "real name" is the login name, as in the original.
pub fn user_info(profile: UserProfile) -> UserInfo {
    UserInfo {
        user_id: profile.id.get(),
        user_gender: profile.sex,
        user_nick_name: profile.nick,
        avatar_url: profile.avatar,
        department_id: profile.department,
        email: profile.email,
        user_real_name: profile.name,
        user_tel: profile.phone,
        user_domain: profile.domain,
        status: profile.status,
        sign_info: Some(profile.signature),
    }
}
