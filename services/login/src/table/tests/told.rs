//! The addresses that clients are told.

use super::*;

#[test]
fn a_msg_server_of_the_same_process_is_where_the_client_came() {
    let address = |ip1: &str, ip2: &str| Address {
        ip1: ip1.to_owned(),
        ip2: ip2.to_owned(),
        port: 8000,
    };
    let here = Some("192.0.2.7".parse().unwrap());
    let mapped = Some("::ffff:192.0.2.7".parse().unwrap());
    for local in [here, mapped] {
        assert_eq!(
            Choice::Fresh(address("*", "*")).seen_from(local),
            Choice::Fresh(address("192.0.2.7", "192.0.2.7"))
        );
    }
    let named = Choice::LastKnown(address("10.0.0.1", "chat.example.com"));
    assert_eq!(named.clone().seen_from(here), named);
    assert_eq!(named.clone().seen_from(None), named);
    for (told, seen) in [
        (address("*", "10.0.0.1"), address("192.0.2.7", "10.0.0.1")),
        (address("10.0.0.1", "*"), address("10.0.0.1", "192.0.2.7")),
    ] {
        let choice = Choice::Fresh(told);
        assert_eq!(choice.clone().seen_from(here), Choice::Fresh(seen));
        assert_eq!(choice.seen_from(None), Choice::Nobody);
    }
    assert_eq!(
        Choice::Fresh(address("*", "*")).seen_from(None),
        Choice::Nobody
    );
    assert_eq!(Choice::AllFull.seen_from(here), Choice::AllFull);
}
