//! Pages of what several servers have, merged into one. Pure.

use im_proto_rpc::v1::{MonitorSessions, PlacedSession, SessionPlace};

/// What one server answers: rows with their places in the order of all.
#[derive(Debug)]
pub(crate) struct Answered<P, R> {
    pub(crate) rows: Vec<(P, R)>,
    /// What it has behind this place is not told yet; none when everything is.
    pub(crate) through: Option<P>,
}

impl From<MonitorSessions> for Answered<Place, PlacedSession> {
    fn from(answer: MonitorSessions) -> Self {
        let placed = answer.sessions.into_iter();
        let rows: Vec<_> = placed
            .filter_map(|session| Some((session.place.map(place_of)?, session)))
            .collect();
        let last = rows.iter().map(|(place, _)| *place).max();
        Self {
            rows,
            through: last.filter(|_| answer.more),
        }
    }
}

/// Where a session stands among all.
pub(crate) type Place = (u32, u32, u64);

/// Bytes of a place in a cursor.
pub(crate) const PLACE: usize = 16;

pub(crate) fn place_of(place: SessionPlace) -> Place {
    (place.part, place.user, place.epoch)
}

pub(crate) const fn spelled((part, user, epoch): Place) -> SessionPlace {
    SessionPlace { part, user, epoch }
}

/// A place as bytes.
pub(crate) fn to_bytes((part, user, epoch): Place) -> [u8; PLACE] {
    let number = u128::from(part) << 96 | u128::from(user) << 64 | u128::from(epoch);
    number.to_be_bytes()
}

/// The place of these bytes.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Place> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let part = |shift: u32| u32::try_from(number >> shift & 0xffff_ffff).unwrap_or(0);
    let epoch = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    Some((part(96), part(64), epoch))
}

/// Rows to ask each of so many servers for, to fill a page: twice its even share, since rows are spread by
/// chance, and no more memory than that for all servers together.
pub(crate) fn share(limit: usize, servers: usize) -> usize {
    (limit * 2 / servers.max(1) + 8).min(limit)
}

/// One page of at most so many rows, in order, and the place behind which the next begins, if some may follow. It
/// ends where the first server that has more would go on: what stands behind that is not known yet.
pub(crate) fn merge<P: Copy + Ord, R>(
    answers: Vec<Answered<P, R>>,
    limit: usize,
) -> (Vec<(P, R)>, Option<P>) {
    let frontier = answers.iter().filter_map(|answer| answer.through).min();
    let mut rows: Vec<(P, R)> = answers.into_iter().flat_map(|it| it.rows).collect();
    rows.sort_by_key(|(place, _)| *place);
    rows.dedup_by_key(|(place, _)| *place);
    if let Some(frontier) = frontier {
        rows.retain(|(place, _)| *place <= frontier);
    }
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|(place, _)| *place);
    (rows, if is_cut { last } else { frontier })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with these sessions, as it answers a question for so many behind a place.
    fn answer(
        server: &[Place],
        limit: usize,
        after: Option<Place>,
    ) -> Answered<Place, PlacedSession> {
        let mut rest: Vec<Place> = server.to_vec();
        rest.sort_unstable();
        rest.retain(|place| after.is_none_or(|after| *place > after));
        let sessions = rest.iter().take(limit).map(|place| PlacedSession {
            place: Some(spelled(*place)),
            session: None,
        });
        let sessions = MonitorSessions {
            sessions: sessions.collect(),
            more: rest.len() > limit,
        };
        sessions.into()
    }

    /// All pages, one after the other.
    fn walk(servers: &[Vec<Place>], limit: usize) -> Vec<Place> {
        let each = share(limit, servers.len());
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let answers = servers.iter().map(|server| answer(server, each, after));
            let (rows, next) = merge(answers.collect(), limit);
            assert!(rows.len() <= limit);
            seen.extend(rows.iter().map(|(place, _)| *place));
            if next.is_none() {
                return seen;
            }
            assert!(next > after, "every page goes on");
            after = next;
        }
    }

    #[test]
    fn pages_of_several_servers_hold_every_session_once_and_in_order() {
        let place = |n: u32| (n % 16, n, u64::from(n) * 7);
        let of = |range: std::ops::Range<u32>, step: usize| -> Vec<Place> {
            range.step_by(step).map(place).collect()
        };
        for servers in [
            vec![],
            vec![vec![]],
            vec![of(0..100, 1)],
            vec![of(0..300, 3), of(1..300, 3), of(2..300, 3)],
            // All of one server come before those of the others.
            vec![of(0..50, 1), of(50..51, 1), vec![], of(51..500, 1)],
        ] {
            let mut expected: Vec<Place> = servers.concat();
            expected.sort_unstable();
            for limit in [1, 2, 7, 100, 1_000] {
                assert_eq!(walk(&servers, limit), expected, "{limit}");
            }
        }
    }

    #[test]
    fn a_session_that_two_servers_tell_of_is_one() {
        let twice = vec![answer(&[(1, 2, 3)], 9, None), answer(&[(1, 2, 3)], 9, None)];
        let (rows, next) = merge(twice, 9);
        assert_eq!((rows.len(), next), (1, None));
    }

    #[test]
    fn a_server_that_found_nothing_in_what_it_looked_at_goes_on_behind_that() {
        let looked = |rows: &[u32], through| Answered {
            rows: rows.iter().map(|n| (*n, ())).collect(),
            through,
        };
        let (rows, next) = merge(vec![looked(&[], Some(40)), looked(&[10, 50], None)], 9);
        assert_eq!((rows, next), (vec![(10, ())], Some(40)));
        let (rows, next) = merge(vec![looked(&[10, 20, 30], Some(40))], 2);
        assert_eq!((rows, next), (vec![(10, ()), (20, ())], Some(20)));
    }

    #[test]
    fn a_place_keeps_its_order_as_bytes() {
        let places = [(0, 1, 2), (0, 1, u64::MAX), (0, 2, 0), (15, u32::MAX, 1)];
        let bytes = places.map(to_bytes);
        assert!(bytes.is_sorted());
        assert_eq!(bytes.map(|it| from_bytes(&it)), places.map(Some));
        assert_eq!(from_bytes(&[1, 2]), None);
    }

    #[test]
    fn all_servers_together_are_asked_for_twice_a_page_and_little_more() {
        assert_eq!(share(100, 0), 100);
        assert_eq!(share(100, 1), 100);
        assert_eq!(share(1_000, 10), 208);
        assert!(share(1_000, 1_000) * 1_000 <= 10_000);
    }
}
