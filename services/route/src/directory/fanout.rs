//! Splits recipients by msg server without allocating for each.

use im_proto_rpc::v1::Audience;

use super::{Class, Directory, Places, ServerId};

/// A session that gets no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Except {
    Nobody,
    /// This session, whose user is known.
    Session {
        user: u32,
        epoch: u64,
    },
    /// This session, whoever's it is.
    Epoch(u64),
}

/// Scratch space of the split: recipients by msg server, kept between messages.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    users: Vec<Vec<u32>>,
    touched: Vec<ServerId>,
}

impl Fanout {
    /// Finds the msg servers that hold a terminal of these users. A user whose only terminal on a
    /// msg server is the excepted one is not meant there.
    pub(crate) fn split(
        &mut self,
        directory: &Directory,
        users: &[u32],
        audience: Audience,
        except: Except,
    ) {
        for &user in users {
            let Some(places) = directory.users.get(&user) else {
                continue;
            };
            let pc = place(directory, user, *places, Class::Pc, audience, except);
            let mobile = place(directory, user, *places, Class::Mobile, audience, except);
            if let Some(server) = pc {
                self.add(server, user);
            }
            if let Some(server) = mobile.filter(|_| mobile != pc) {
                self.add(server, user);
            }
        }
    }

    /// The msg servers found, each once; ends the split. Recipients come by [`Self::take`].
    pub(crate) fn touched(&mut self) -> Vec<ServerId> {
        std::mem::take(&mut self.touched)
    }

    /// Gives the list of [`Self::touched`] back, so that its memory serves the next split.
    pub(crate) fn reuse(&mut self, mut touched: Vec<ServerId>) {
        touched.clear();
        self.touched = touched;
    }

    /// The recipients on this msg server, written over `into`; forgets them here.
    pub(crate) fn take(&mut self, server: ServerId, into: &mut Vec<u32>) {
        into.clear();
        if let Some(users) = self.users.get_mut(server.index()) {
            into.extend_from_slice(users);
            users.clear();
        }
    }

    #[inline]
    fn add(&mut self, server: ServerId, user: u32) {
        let index = server.index();
        if self.users.len() <= index {
            self.users.resize_with(index + 1, Vec::new);
        }
        if let Some(users) = self.users.get_mut(index) {
            if users.is_empty() {
                self.touched.push(server);
            }
            users.push(user);
        }
    }
}

/// The msg server of this terminal, if there is one that gets a copy.
#[inline]
fn place(
    directory: &Directory,
    user: u32,
    places: Places,
    class: Class,
    audience: Audience,
    except: Except,
) -> Option<ServerId> {
    let (server, key) = places.get(class)?;
    let excepted = match except {
        Except::Nobody => None,
        Except::Session {
            user: sender,
            epoch,
        } => (user == sender).then_some(epoch),
        Except::Epoch(epoch) => Some(epoch),
    };
    let skipped = !class.within(audience)
        || excepted.is_some_and(|epoch| {
            directory
                .sessions
                .get(key)
                .is_some_and(|session| session.epoch == epoch)
        });
    (!skipped).then_some(server)
}
