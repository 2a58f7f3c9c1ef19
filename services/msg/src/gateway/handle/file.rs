//! Requests about files: tasks are opened by a file server, and what waits for somebody is asked of all of
//! them. Without one they are answered as the original does without it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use im_codec::{Command, encode, encode_raw};
use im_config::WHERE_ASKED;
use im_core::{TerminalClass, UserId};
use im_proto_rpc::v1::file_call::Call;
use im_proto_rpc::v1::file_created::Outcome;
use im_proto_rpc::v1::{
    Audience, Event, FileAddress, FileConfirm, FileCreate, FileDelete, FileItem, FileList,
    FileNoted, StoredFile, file_item::Item, route_call,
};
use im_proto_teamtalk::base::{IpAddr as Address, OfflineFileInfo, TransferFileType};
use im_proto_teamtalk::file::{
    ImFileAddOfflineReq, ImFileDelOfflineReq, ImFileHasOfflineReq, ImFileHasOfflineRsp,
    ImFileNotify, ImFileReq, ImFileRsp,
};
use prost::Message as _;

use super::{Request, presence};
use crate::clock::is_due;
use crate::connection::{Appended, Conn};
use crate::gateway::files::{Asked, FileLink, Job, Offer, Step};
use crate::gateway::routes::RouteBound;
use crate::gateway::state::Gateway;
use crate::ids::LinkId;
use crate::metrics::Refusal;

const FAILED: u32 = 1;

/// What a request costs beside its bytes, for each server that is asked, bytes.
const ASKED: usize = 256;

/// Works on a request about files.
pub(super) fn ask(request: &Request<'_>) {
    match request.command {
        Command::FileReq => offer(request),
        Command::FileHasOfflineReq => list(request),
        Command::FileAddOfflineReq => {
            if let Some(added) = request.decode::<ImFileAddOfflineReq>() {
                let call = Call::Confirm(FileConfirm {
                    from: request.user(),
                    task: added.task_id,
                });
                ask_all(request, Asked::Told, &call);
            }
        }
        Command::FileDelOfflineReq => {
            if let Some(deleted) = request.decode::<ImFileDelOfflineReq>() {
                // Whoever asks is the receiver, whatever the client says.
                let call = Call::Delete(FileDelete {
                    to: request.user(),
                    task: deleted.task_id,
                });
                ask_all(request, Asked::Told, &call);
            }
        }
        _ => {}
    }
}

/// Somebody wants to send a file: directly, if its receiver has a PC online.
fn offer(request: &Request<'_>) {
    let gateway = request.gateway;
    let Some(asked) = request.decode::<ImFileReq>() else {
        return;
    };
    let offer = Offer {
        to: asked.to_user_id,
        offline: asked.trans_mode() == TransferFileType::FileTypeOffline,
        name: asked.file_name,
        size: asked.file_size,
    };
    let receiver = UserId::from_wire(offer.to);
    let mut job = job(request, 1);
    let Some(receiver) = receiver.filter(|_| gateway.files.choose(&[]).is_some()) else {
        gateway.env.refuse(&mut job.line, Refusal::NoFileServer);
        refuse(gateway, &job, offer);
        done(gateway, &job);
        return;
    };
    if offer.offline || has_pc_here(gateway, receiver) {
        open(gateway, job, offer, Vec::new());
    } else {
        presence::of_receiver(gateway, job, offer, receiver);
    }
}

/// Whether a receiver has a PC online is known now.
pub(super) fn receiver_known(gateway: &Arc<Gateway>, job: Job, offer: Offer, is_online: bool) {
    let offline = offer.offline || !is_online;
    open(gateway, job, Offer { offline, ..offer }, Vec::new());
}

fn has_pc_here(gateway: &Gateway, user: UserId) -> bool {
    let mut has_pc = false;
    gateway.sessions.of_user(user.get(), |conn| {
        has_pc |= conn
            .session()
            .is_some_and(|session| session.class() == TerminalClass::Pc);
    });
    has_pc
}

/// Asks the least full server for a task, and refuses when there is none that was not tried.
fn open(gateway: &Arc<Gateway>, mut job: Job, offer: Offer, mut tried: Vec<LinkId>) {
    loop {
        let Some(link) = gateway.files.choose(&tried) else {
            gateway.env.refuse(&mut job.line, Refusal::NoFileServer);
            refuse(gateway, &job, offer);
            done(gateway, &job);
            return;
        };
        tried.push(link.id);
        let call = Call::Create(FileCreate {
            from: job.user,
            to: offer.to,
            name: offer.name.clone(),
            size: offer.size,
            offline: offer.offline,
        });
        // What the route servers took to answer is not the file server's.
        job.since = gateway.env.now();
        job.waiting = vec![link.id];
        job.asked = Asked::Task {
            offer: offer.clone(),
            tried: tried.clone(),
        };
        let tag = gateway.jobs.open(job);
        if link.call(tag, call) {
            return;
        }
        // The link went meanwhile; its end may have taken the job.
        let Some(taken) = gateway.jobs.take(tag) else {
            return;
        };
        job = taken;
    }
}

/// Asks what waits for a user.
fn list(request: &Request<'_>) {
    if request.decode::<ImFileHasOfflineReq>().is_none() {
        return;
    }
    let call = Call::List(FileList {
        user: request.user(),
    });
    ask_all(request, Asked::List(Vec::new()), &call);
}

/// Asks every file server; where there is none, it is over at once.
fn ask_all(request: &Request<'_>, asked: Asked, call: &Call) {
    let gateway = request.gateway;
    let links = gateway.files.all();
    let mut job = job(request, links.len());
    job.asked = asked;
    if links.is_empty() {
        finished(gateway, job);
        return;
    }
    job.waiting = links.iter().map(|link| link.id).collect();
    let tag = gateway.jobs.open(job);
    for link in links {
        if !link.call(tag, call.clone()) {
            let steps = gateway.jobs.answered(link.id, tag, None);
            work(gateway, steps);
        }
    }
}

/// A request that counts until [`done`].
fn job(request: &Request<'_>, servers: usize) -> Job {
    let bytes = request.body.len() + ASKED * servers.max(1);
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    request.conn.query_sent(bytes);
    request.gateway.queries.take(bytes);
    Job {
        conn: Arc::downgrade(request.conn),
        user: request.user(),
        seq: request.seq,
        bytes,
        since: request.gateway.env.now(),
        asked: Asked::Told,
        waiting: Vec::new(),
        line: request.line.take(),
    }
}

/// A request is answered, or will never be.
fn done(gateway: &Gateway, job: &Job) {
    gateway.queries.give_back(job.bytes);
    if let Some(conn) = job.conn.upgrade() {
        conn.query_done(job.bytes);
    }
}

/// What a file server says.
pub(crate) fn item(gateway: &Arc<Gateway>, link: &FileLink, item: FileItem) {
    match item.item {
        Some(Item::Status(status)) => link.set_status(status),
        // Told again by the file server where it cannot be passed on.
        Some(Item::Kept(file)) => gateway.db.file_kept(link.id, file),
        other => work(gateway, gateway.jobs.answered(link.id, item.tag, other)),
    }
}

/// db-proxy knows that a file waits: its server need not tell it again.
pub(crate) fn noted(gateway: &Gateway, link: LinkId, task: String) {
    if let Some(link) = gateway.files.get(link) {
        link.call(0, Call::Noted(FileNoted { task }));
    }
}

/// A file server is gone.
pub(crate) fn link_lost(gateway: &Arc<Gateway>, link: LinkId) {
    work(gateway, gateway.jobs.link_lost(link));
}

/// Gives up what has been open for longer than allowed.
pub(crate) fn expire(gateway: &Arc<Gateway>, now: u32) {
    let wait = gateway.env.config.file_timeout.as_millis_u32();
    let is_old = |since: u32| is_due(now, since.wrapping_add(wait));
    for mut job in gateway.jobs.expired(is_old) {
        gateway.env.refuse(&mut job.line, Refusal::FileTimeout);
        match std::mem::replace(&mut job.asked, Asked::Told) {
            Asked::Task { offer, .. } => refuse(gateway, &job, offer),
            asked => job.asked = asked,
        }
        finished(gateway, job);
    }
}

fn work(gateway: &Arc<Gateway>, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Created(job, link, answer) => {
                created(gateway, job, link, answer.outcome(), answer.task);
            }
            Step::Ready(link, file) => {
                let addresses = addresses(gateway, link);
                notify(gateway, &waiting_file(file, addresses));
            }
            Step::Finished(mut job) => match std::mem::replace(&mut job.asked, Asked::Told) {
                // Whether it has opened a task or not, another one is asked.
                Asked::Task { offer, tried } => open(gateway, job, offer, tried),
                asked => finished(gateway, Job { asked, ..job }),
            },
        }
    }
}

/// A file server has answered whether it opens a task.
fn created(gateway: &Arc<Gateway>, mut job: Job, link: LinkId, outcome: Outcome, task: String) {
    let Asked::Task { offer, tried } = std::mem::replace(&mut job.asked, Asked::Told) else {
        return;
    };
    match outcome {
        Outcome::Created => {
            opened(gateway, &job, offer, task, addresses(gateway, link));
            job.line.done();
            done(gateway, &job);
        }
        Outcome::Full => open(gateway, job, offer, tried),
        Outcome::Refused => {
            gateway.env.refuse(&mut job.line, Refusal::FileRefused);
            refuse(gateway, &job, offer);
            done(gateway, &job);
        }
    }
}

/// Tells both people of their task.
fn opened(
    gateway: &Arc<Gateway>,
    job: &Job,
    offer: Offer,
    task: String,
    addresses: Vec<FileAddress>,
) {
    let mode = mode(offer.offline);
    if let Some(conn) = job.conn.upgrade() {
        let answer = ImFileRsp {
            result_code: 0,
            from_user_id: job.user,
            to_user_id: offer.to,
            // Unchanged: the Windows client opens this path again.
            file_name: offer.name.clone(),
            task_id: task.clone(),
            ip_addr_list: seen_from(&conn, &addresses),
            trans_mode: mode,
        };
        answer_now(gateway, &conn, Command::FileRsp, job.seq, &answer);
    }
    let told = ImFileNotify {
        from_user_id: job.user,
        to_user_id: offer.to,
        file_name: offer.name,
        file_size: offer.size,
        task_id: task,
        ip_addr_list: listed(&addresses),
        trans_mode: mode,
        offline_ready: 0,
    };
    notify(gateway, &told);
}

const fn mode(offline: bool) -> i32 {
    if offline {
        TransferFileType::FileTypeOffline as i32
    } else {
        TransferFileType::FileTypeOnline as i32
    }
}

/// No task: as the original answers without a file server.
fn refuse(gateway: &Gateway, job: &Job, offer: Offer) {
    let Some(conn) = job.conn.upgrade() else {
        return;
    };
    let answer = ImFileRsp {
        result_code: FAILED,
        from_user_id: job.user,
        to_user_id: offer.to,
        trans_mode: mode(offer.offline),
        file_name: offer.name,
        task_id: String::new(),
        ip_addr_list: Vec::new(),
    };
    answer_now(gateway, &conn, Command::FileRsp, job.seq, &answer);
}

/// Answers what all servers were asked, with what they have said.
fn finished(gateway: &Gateway, mut job: Job) {
    done(gateway, &job);
    job.line.done();
    if let (Asked::List(lists), Some(conn)) = (&job.asked, job.conn.upgrade()) {
        answer_list(gateway, &conn, &job, lists);
    }
}

/// An answer names one server, so it has the files of the one with the most; each other file is told by
/// itself, with the server that has it.
fn answer_list(
    gateway: &Gateway,
    conn: &Arc<Conn>,
    job: &Job,
    lists: &[(LinkId, Vec<StoredFile>)],
) {
    let most = lists.iter().max_by_key(|(_, files)| files.len());
    let files = most.map_or(&[][..], |(_, files)| files);
    let at = most.map_or_else(Vec::new, |(link, _)| addresses(gateway, *link));
    let answer = ImFileHasOfflineRsp {
        user_id: job.user,
        offline_file_list: files.iter().map(offline_file).collect(),
        ip_addr_list: seen_from(conn, &at),
        attach_data: None,
    };
    answer_now(gateway, conn, Command::FileHasOfflineRsp, job.seq, &answer);
    let others = lists
        .iter()
        .filter(|list| most.is_none_or(|most| most.0 != list.0));
    for (link, files) in others {
        let addresses = addresses(gateway, *link);
        for file in files {
            let told = waiting_file(file.clone(), addresses.clone());
            let frame = notify_frame(conn, &Bytes::from(told.encode_to_vec()));
            conn.offer(&gateway.output, frame);
        }
    }
    conn.flush(&gateway.output);
}

fn offline_file(file: &StoredFile) -> OfflineFileInfo {
    OfflineFileInfo {
        from_user_id: file.from,
        task_id: file.task.clone(),
        file_name: file.name.clone(),
        file_size: file.size,
    }
}

/// A stored file can be fetched there.
fn waiting_file(file: StoredFile, addresses: Vec<FileAddress>) -> ImFileNotify {
    ImFileNotify {
        from_user_id: file.from,
        to_user_id: file.to,
        file_name: file.name,
        file_size: file.size,
        task_id: file.task,
        ip_addr_list: listed(&addresses),
        trans_mode: mode(true),
        offline_ready: 1,
    }
}

fn addresses(gateway: &Gateway, link: LinkId) -> Vec<FileAddress> {
    let link = gateway.files.get(link);
    link.map_or_else(Vec::new, |link| link.addresses())
}

/// Tells the PCs of a receiver, wherever they are.
fn notify(gateway: &Gateway, notify: &ImFileNotify) {
    let event = Event {
        users: vec![notify.to_user_id],
        broadcast: false,
        except: 0,
        audience: Audience::Pc as i32,
        command: u32::from(Command::FileNotify.id()),
        body: Bytes::from(notify.encode_to_vec()),
    };
    let table = gateway.routes.table();
    let receiver = UserId::from_wire(notify.to_user_id);
    match receiver.and_then(|receiver| table.owner(receiver)) {
        Some(link) => {
            let bound = RouteBound::of(&gateway.env.config);
            if !link.offer(route_call::Call::Signal(event), bound) {
                gateway.env.metrics.refused(Refusal::RouteQueue);
            }
        }
        // No route server at all: nobody elsewhere is reached, and nobody can log in here.
        None => gateway.env.metrics.refused(Refusal::PeerMissing),
    }
}

/// The frame of a notice for this connection.
pub(crate) fn notify_frame(conn: &Conn, body: &Bytes) -> Bytes {
    match ImFileNotify::decode(body.clone()) {
        Ok(mut told) if told.ip_addr_list.iter().any(|it| it.ip == WHERE_ASKED) => {
            told.ip_addr_list = told
                .ip_addr_list
                .into_iter()
                .filter_map(|address| seen(conn, address))
                .collect();
            encode(Command::FileNotify, 0, &told)
        }
        _ => encode_raw(Command::FileNotify, 0, body),
    }
}

/// Addresses as they travel between servers.
fn listed(addresses: &[FileAddress]) -> Vec<Address> {
    let addresses = addresses.iter();
    let addresses = addresses.map(|address| Address {
        ip: address.host.clone(),
        port: address.port,
    });
    addresses.collect()
}

/// Addresses for the client of a connection.
fn seen_from(conn: &Conn, addresses: &[FileAddress]) -> Vec<Address> {
    let addresses = listed(addresses).into_iter();
    addresses
        .filter_map(|address| seen(conn, address))
        .collect()
}

/// The address where a client finds a file server: that to which it came itself, if it is to be the same.
fn seen(conn: &Conn, address: Address) -> Option<Address> {
    if address.ip != WHERE_ASKED {
        return Some(address);
    }
    let ip: IpAddr = conn.transport().local_ip()?;
    Some(Address {
        ip: ip.to_string(),
        ..address
    })
}

fn answer_now<M: im_codec::TeamtalkMessage>(
    gateway: &Gateway,
    conn: &Arc<Conn>,
    command: Command,
    seq: u16,
    message: &M,
) {
    let frame = encode(command, seq, message);
    gateway.count_answer(conn, frame.len());
    if conn.answer(&gateway.output, frame) == Appended::First {
        conn.flush(&gateway.output);
    }
}
