use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    total: 8,
    per_address: 3,
    reserved: 2,
    few: 1,
    leaving: 1,
};

fn address(site: u8, host: u8) -> IpAddr {
    IpAddr::from([10, 0, site, host])
}

#[test]
fn the_longest_silent_makes_room_and_who_spoke_stays() {
    let mut places = Places::new(Limits {
        total: 2,
        per_address: 2,
        reserved: 0,
        few: 9,
        leaving: 1,
    });
    let (mut first, none) = places.enter(address(1, 1), "first").unwrap();
    assert_eq!(none, None);
    let (second, none) = places.enter(address(2, 1), "second").unwrap();
    assert_eq!(none, None);
    places.heard(&mut first);
    let (third, evicted) = places.enter(address(3, 1), "third").unwrap();
    assert_eq!(evicted, Some("second"));
    // Until its socket is closed nobody else is evicted, or there were ever more sockets.
    assert_eq!(
        places.enter(address(4, 1), "fourth").unwrap_err(),
        Refusal::Full
    );
    places.leave(second);
    let (_fourth, evicted) = places.enter(address(4, 1), "fourth").unwrap();
    assert_eq!(evicted, Some("first"));
    places.leave(third);
    assert_eq!((places.in_use(), places.leaving()), (1, 1));
}

#[test]
fn an_address_loses_places_to_itself_only_and_kept_ones_are_kept() {
    let mut places = Places::new(LIMITS);
    let mut mine: Vec<_> = (0..3)
        .map(|n| places.enter(address(1, 1), n).unwrap().0)
        .collect();
    let (_other, evicted) = places.enter(address(1, 2), 9).unwrap();
    assert_eq!(evicted, None);
    assert!(places.keep(&mut mine[0]));
    let (_mine, evicted) = places.enter(address(1, 1), 3).unwrap();
    assert_eq!(evicted, Some(1));
    assert!(!places.keep(&mut mine[1]), "too late");
}

#[test]
fn a_slash_64_is_one_address_and_a_slash_24_has_four_times_its_places() {
    let limits = Limits {
        total: 1_000,
        reserved: 0,
        ..LIMITS
    };
    let mut tickets = Vec::new();
    let mut enter = |places: &mut Places<()>, from: IpAddr| {
        let (mut ticket, evicted) = places.enter(from, ())?;
        assert!(evicted.is_none() && places.keep(&mut ticket));
        tickets.push(ticket);
        Ok::<_, Refusal>(())
    };
    let mut places = Places::new(limits);
    for host in 0..3 {
        enter(&mut places, format!("2001:db8::{host}").parse().unwrap()).unwrap();
    }
    let fourth = enter(&mut places, "2001:db8::ffff:0:0:9".parse().unwrap());
    assert_eq!(fourth.unwrap_err(), Refusal::Address);
    enter(&mut places, "2001:db8:0:1::1".parse().unwrap()).unwrap();
    for host in 0..12 {
        enter(&mut places, address(1, host)).unwrap();
    }
    assert_eq!(
        enter(&mut places, address(1, 99)).unwrap_err(),
        Refusal::Address
    );
    enter(&mut places, address(2, 99)).unwrap();
}

#[test]
fn what_is_reserved_is_left_to_sites_with_few_connections() {
    let mut places = Places::new(LIMITS);
    let mut kept = Vec::new();
    // A place of its own for each site, and the six that are not reserved.
    for (site, host, n) in [(1, 1, 3), (1, 2, 3), (2, 1, 1)] {
        for _ in 0..n {
            let (mut ticket, _) = places.enter(address(site, host), ()).unwrap();
            assert!(places.keep(&mut ticket));
            kept.push(ticket);
        }
    }
    // Site 1 has 6: 5 of them beyond the first. One more is not reserved, then the reserve begins.
    let (mut sixth, _) = places.enter(address(1, 3), ()).unwrap();
    assert!(places.keep(&mut sixth));
    assert_eq!(places.in_use(), 8);
    assert_eq!(
        places.enter(address(1, 3), ()).unwrap_err(),
        Refusal::Reserved
    );
    assert_eq!(places.enter(address(3, 1), ()).unwrap_err(), Refusal::Full);
    for ticket in kept.drain(..2) {
        places.leave(ticket);
    }
    let crowd = [
        places.enter(address(1, 1), ()),
        places.enter(address(1, 1), ()),
        places.enter(address(3, 1), ()),
    ];
    let [Ok((a, None)), Ok((b, None)), Ok((c, Some(())))] = crowd else {
        panic!("{crowd:?}");
    };
    drop((a, b, c, sixth));
}

/// The rules once more, by looking through a list.
#[derive(Default)]
struct Model {
    clock: u64,
    places: Vec<Entry>,
    leaving: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u32,
    from: IpAddr,
    silent: Option<u64>,
}

impl Model {
    fn of(&self, of: fn(IpAddr) -> Network, from: IpAddr) -> Vec<Entry> {
        let same = |entry: &&Entry| of(entry.from) == of(from);
        self.places.iter().filter(same).copied().collect()
    }

    fn oldest(entries: &[Entry]) -> Option<Entry> {
        let silent = entries.iter().filter(|entry| entry.silent.is_some());
        silent.min_by_key(|entry| entry.silent).copied()
    }

    fn crowd(&self, few: usize) -> usize {
        let sites: BTreeSet<_> = self.places.iter().map(|e| Network::site(e.from)).collect();
        let open = |site| {
            let here = |entry: &&Entry| Network::site(entry.from) == site;
            self.places.iter().filter(here).count()
        };
        sites
            .into_iter()
            .map(|site| open(site).saturating_sub(few))
            .sum()
    }

    fn enter(&mut self, limits: &Limits, id: u32, from: IpAddr) -> Result<Option<u32>, Refusal> {
        let (host, site) = (self.of(Network::host, from), self.of(Network::site, from));
        let victim = if host.len() >= limits.per_address {
            Some(Self::oldest(&host).ok_or(Refusal::Address)?)
        } else if site.len() >= 4 * limits.per_address {
            Some(Self::oldest(&site).ok_or(Refusal::Address)?)
        } else if site.len() >= limits.few
            && self.crowd(limits.few) >= limits.total.saturating_sub(limits.reserved)
        {
            let first = Self::oldest(&self.places);
            let first = first.filter(|e| self.of(Network::site, e.from).len() > limits.few);
            Some(
                first
                    .or_else(|| Self::oldest(&site))
                    .ok_or(Refusal::Reserved)?,
            )
        } else if self.places.len() >= limits.total {
            Some(Self::oldest(&self.places).ok_or(Refusal::Full)?)
        } else {
            None
        };
        if let Some(victim) = victim {
            if self.leaving >= limits.leaving {
                return Err(Refusal::Full);
            }
            self.leaving += 1;
            self.places.retain(|entry| entry.id != victim.id);
        }
        self.clock += 1;
        self.places.push(Entry {
            id,
            from,
            silent: Some(self.clock),
        });
        Ok(victim.map(|victim| victim.id))
    }

    fn entry(&mut self, id: u32) -> Option<&mut Entry> {
        self.places.iter_mut().find(|entry| entry.id == id)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u8, u8),
    Heard(prop::sample::Index),
    Keep(prop::sample::Index),
    Leave(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..4_u8, 0..3_u8).prop_map(|(site, host)| Step::Enter(site, host)),
        2 => index().prop_map(Step::Heard),
        1 => index().prop_map(Step::Keep),
        3 => index().prop_map(Step::Leave),
    ]
}

proptest! {
    #[test]
    fn places_follow_the_rules(
        steps in prop::collection::vec(step(), 1..200),
        total in 1..24_usize,
        per_address in 1..8_usize,
        reserved in 0..8_usize,
        few in 0..4_usize,
        leaving in 1..4_usize,
    ) {
        let limits = Limits { total, per_address, reserved, few, leaving };
        let (mut places, mut model) = (Places::new(limits), Model::default());
        let mut tickets: Vec<(u32, Ticket)> = Vec::new();
        for (id, step) in (0_u32..).zip(steps) {
            match step {
                Step::Enter(site, host) => {
                    let from = address(site, host);
                    let expected = model.enter(&limits, id, from);
                    match places.enter(from, id) {
                        Ok((ticket, evicted)) => {
                            prop_assert_eq!(Ok(evicted), expected);
                            tickets.push((id, ticket));
                        }
                        Err(refusal) => prop_assert_eq!(Err(refusal), expected),
                    }
                }
                _ if tickets.is_empty() => {}
                Step::Heard(index) => {
                    let (id, ticket) = index.get_mut(&mut tickets);
                    places.heard(ticket);
                    model.clock += 1;
                    let now = model.clock;
                    if let Some(entry) = model.entry(*id) {
                        entry.silent = entry.silent.map(|_| now);
                    }
                }
                Step::Keep(index) => {
                    let (id, ticket) = index.get_mut(&mut tickets);
                    let kept = model.entry(*id).map(|entry| entry.silent = None).is_some();
                    prop_assert_eq!(places.keep(ticket), kept);
                }
                Step::Leave(index) => {
                    let (id, ticket) = tickets.swap_remove(index.index(tickets.len()));
                    places.leave(ticket);
                    if model.entry(id).is_none() {
                        model.leaving -= 1;
                    }
                    model.places.retain(|entry| entry.id != id);
                }
            }
            prop_assert_eq!(places.in_use(), model.places.len());
            prop_assert_eq!(places.leaving(), model.leaving);
            prop_assert!(places.in_use() <= total);
            prop_assert_eq!(places.crowd, model.crowd(few));
        }
        for (_, ticket) in tickets {
            places.leave(ticket);
        }
        prop_assert_eq!((places.in_use(), places.leaving(), places.crowd), (0, 0, 0));
        prop_assert!(places.hosts.is_empty() && places.sites.is_empty());
        prop_assert!(places.silent.is_empty());
    }
}
