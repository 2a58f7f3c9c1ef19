use std::collections::HashSet;

use im_proto_teamtalk::MessageKind;

use super::*;

fn header(service_id: u16, command_id: u16) -> Header {
    Header {
        length: 16,
        version: 1,
        flag: 0,
        service_id,
        command_id,
        seq: 1,
        reserved: 0,
    }
}

fn from_client(service_id: u16, command_id: u16) -> ClientCommand {
    Command::from_client(&header(service_id, command_id))
}

#[test]
fn numbers_and_commands_translate_into_each_other() {
    let known: Vec<_> = (0..=u16::MAX).filter_map(Command::from_id).collect();
    assert_eq!(known, Command::ALL);
    assert_eq!(known.len(), 95);
    for command in known {
        assert_eq!(Command::from_id(command.id()), Some(command));
    }
    assert_eq!(
        Command::from_id(0x070c),
        None,
        "the one gap in the numbering"
    );
}

#[test]
fn the_high_byte_of_a_number_is_its_service() {
    for command in Command::ALL {
        assert_eq!(command.service() as u16, command.id() >> 8, "{command:?}");
    }
}

#[test]
fn every_message_belongs_to_exactly_one_command() {
    let used: HashSet<_> = Command::ALL
        .iter()
        .map(|command| command.message())
        .collect();
    assert_eq!(used.len(), Command::ALL.len());
    for kind in MessageKind::ALL {
        let is_record = kind.rule().name.starts_with("IM.BaseDefine.");
        assert_eq!(used.contains(&kind), !is_record, "{}", kind.rule().name);
    }
}

#[test]
fn a_variant_is_named_after_its_message() {
    for command in Command::ALL {
        let message = format!("{:?}", command.message()).to_lowercase();
        assert_eq!(format!("im{command:?}").to_lowercase(), message);
    }
}

#[test]
fn published_names_differ_and_fit_their_service() {
    let names: HashSet<_> = Command::ALL.iter().map(|command| command.name()).collect();
    assert_eq!(names.len(), Command::ALL.len());
    for command in Command::ALL {
        let prefix = match command.service() {
            Service::Login => "CID_LOGIN_",
            Service::BuddyList => "CID_BUDDY_LIST_",
            Service::Msg => "CID_MSG_",
            Service::Group => "CID_GROUP_",
            Service::File => "CID_FILE_",
            Service::SwitchService => "CID_SWITCH_",
            Service::Other => "CID_OTHER_",
        };
        assert!(command.name().starts_with(prefix), "{}", command.name());
    }
}

#[test]
fn an_answer_goes_the_other_way() {
    for command in Command::ALL {
        let Some(answer) = command.answer() else {
            continue;
        };
        let fits = match command.direction() {
            Direction::ClientToLogin => answer.direction() == Direction::LoginToClient,
            Direction::ClientToMsg => answer.direction() == Direction::Answer,
            Direction::ClientAndMsg | Direction::ClientAndFile | Direction::Servers => {
                answer.direction() == command.direction()
            }
            Direction::LoginToClient | Direction::Answer | Direction::Push => false,
        };
        assert!(fits, "{command:?} -> {answer:?}");
        assert_eq!(answer.service(), command.service());
    }
}

#[test]
fn every_answer_has_its_request() {
    let answers: HashSet<_> = Command::ALL
        .iter()
        .filter_map(|command| command.answer())
        .collect();
    for command in Command::ALL {
        if matches!(
            command.direction(),
            Direction::Answer | Direction::LoginToClient
        ) {
            assert!(answers.contains(&command), "{command:?}");
        }
    }
}

#[test]
fn only_three_notices_of_clients_stay_without_an_answer() {
    let silent: Vec<_> = Command::ALL
        .into_iter()
        .filter(|command| command.direction() == Direction::ClientToMsg)
        .filter(|command| command.answer().is_none())
        .collect();
    assert_eq!(
        silent,
        [
            Command::MsgDataReadAck,
            Command::FileAddOfflineReq,
            Command::FileDelOfflineReq
        ]
    );
}

#[test]
fn handlers_fit_their_directions() {
    for command in Command::ALL {
        let fits = match command.handler() {
            Handler::Answer => {
                matches!(
                    command.direction(),
                    Direction::Answer | Direction::LoginToClient
                )
            }
            Handler::Push => command.direction() == Direction::Push,
            Handler::Internal => command.direction() == Direction::Servers,
            Handler::FileServer => command.direction() == Direction::ClientAndFile,
            Handler::Dispatch => command.direction() == Direction::ClientToLogin,
            _ => command.is_client_request(),
        };
        assert!(fits, "{command:?}");
    }
}

#[test]
fn nothing_but_dispatch_login_and_heartbeat_has_an_effect_before_login() {
    let allowed: Vec<_> = Command::ALL
        .into_iter()
        .filter(|command| command.allowed_before_login())
        .collect();
    assert_eq!(
        allowed,
        [Command::MsgServReq, Command::LoginReq, Command::HeartBeat]
    );
}

#[test]
fn requests_of_clients_are_recognised_whatever_the_service_says() {
    assert_eq!(
        from_client(3, 0x0301),
        ClientCommand::Request(Command::MsgData)
    );
    assert_eq!(
        from_client(0xffff, 0x0301),
        ClientCommand::Request(Command::MsgData)
    );
    assert_eq!(
        from_client(7, 0x0701),
        ClientCommand::Request(Command::HeartBeat)
    );
}

#[test]
fn answers_pushes_and_server_commands_are_not_for_clients() {
    for command in [
        Command::LoginRes,
        Command::KickUser,
        Command::MsgDataReadNotify,
        Command::ValidateReq,
        Command::ServerKickUser,
        Command::FileLoginReq,
        Command::MsgServReq,
    ] {
        assert_eq!(
            from_client(command.service() as u16, command.id()),
            ClientCommand::NotForClients(command)
        );
    }
}

#[test]
fn the_ios_request_with_the_number_of_the_answer_is_a_request() {
    assert_eq!(
        from_client(2, 0x0207),
        ClientCommand::Request(Command::RemoveSessionReq)
    );
    assert_eq!(
        Command::RemoveSessionReq.answer(),
        Some(Command::RemoveSessionRsp)
    );
}

#[test]
fn strays_of_original_clients_are_told_from_unknown_commands() {
    assert_eq!(
        from_client(7, 0x0735),
        ClientCommand::Odd(Odd::IosCallReport)
    );
    assert_eq!(from_client(2, 0x0012), ClientCommand::Odd(Odd::IosLegacy));
    assert_eq!(
        from_client(2, 0x0014),
        ClientCommand::Odd(Odd::MacLegacyAvatar)
    );
    assert_eq!(from_client(0x5a, 1), ClientCommand::Odd(Odd::MacLegacy));
    assert_eq!(from_client(0x52, 19), ClientCommand::Odd(Odd::MacLegacy));
    assert_eq!(from_client(0x52, 20), ClientCommand::Unknown(20));
    assert_eq!(from_client(7, 0x070c), ClientCommand::Unknown(0x070c));
}
