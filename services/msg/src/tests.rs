//! The whole role over real sockets. The other roles are played at the link seam: they follow the
//! protocol between roles, and each test can hold them back or make them speak.

mod asked;
mod bounds;
mod control;
mod delivery;
mod door;
mod leaving;
mod login;
mod messages;
mod meter;
mod parts;
mod requests;
mod rig;
mod weights;
