//! Files and pictures as roles of an ImCluster: what people send outlives pods, and the roles come and go
//! without another pod's notice (S-42, S-76 to S-78).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use im_client::{FileOffer, RawConn};
use im_codec::{Command, decode_checked};
use im_core::UserId;
use im_e2e_kube::testing::is_ready;
use im_e2e_kube::wait::{LATER, SOON, until};
use im_proto_teamtalk::base::{ClientFileRole, ClientFileState, TransferFileType};
use im_proto_teamtalk::file::{
    ImFileLoginReq, ImFileLoginRsp, ImFilePullDataReq, ImFilePullDataRsp, ImFileState,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::installation::{Installation, small, with};

/// Largest block of a stored file.
const BLOCK: usize = 32 << 10;

/// Both roles, with what a small machine has.
fn both() -> Value {
    let requests = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    let role = json!({"resources": requests, "drain": {"maxSeconds": 5}});
    json!({"roles": {"file": role, "msfs": role}, "storage": {"blobs": {"volume": {"size": "1Gi"}}}})
}

/// Where clients reach the Service of a role.
pub(crate) async fn address(installation: &Installation, role: &str) -> anyhow::Result<SocketAddr> {
    let services = installation.namespace.api::<Service>();
    let name = format!("{}-{role}", installation.name);
    let spec = services.get(&name).await?.spec.context("a specification")?;
    let ip = spec.cluster_ip.context("an address")?;
    let port = spec.ports.context("ports")?.first().context("a port")?.port;
    Ok(SocketAddr::new(ip.parse()?, u16::try_from(port)?))
}

/// Tells clients the address instead of the name of the file server's Service: they are outside of the
/// cluster's DNS here.
async fn tell_address(installation: &Installation) -> anyhow::Result<()> {
    let at = address(installation, "file").await?;
    let external = json!({"host": at.ip().to_string()});
    installation.patch(&json!({"roles": {"file": {"external": external}}}))?;
    installation.ready().await
}

/// Sends one HTTP request and returns status and body of the answer.
pub(crate) async fn http(
    at: SocketAddr,
    head: &str,
    body: &[u8],
) -> anyhow::Result<(u16, Vec<u8>)> {
    let stream = timeout(SOON, TcpStream::connect(at)).await??;
    http_over(stream, &format!("{head} HTTP/1.1"), body).await
}

/// The same over a connection that stands, with the head as far as it is not about the connection.
pub(crate) async fn http_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    body: &[u8],
) -> anyhow::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let length = body.len();
        let head =
            format!("{head}\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            // Some end TLS without a word.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            read => drop(read?),
        }
        anyhow::Ok(answer)
    };
    let answer = timeout(SOON, exchange).await??;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.context("an answer")?;
    let status = std::str::from_utf8(&answer[..end])?.split(' ').nth(1);
    Ok((
        status.context("a status")?.parse()?,
        answer[end + 4..].to_vec(),
    ))
}

/// Deletes the pods of a role and waits until others are ready.
async fn replace(installation: &Installation, role: &str) -> anyhow::Result<()> {
    let old: Vec<String> = installation
        .pods(role)
        .await?
        .iter()
        .filter_map(kube::ResourceExt::uid)
        .collect();
    ensure!(!old.is_empty(), "no pod of {role}");
    let selector = format!("app.kubernetes.io/component={role}");
    let delete = ["delete", "pods", "-l", &selector, "--wait=false"];
    installation.namespace.kubectl(&delete)?;
    until(&format!("other pods of {role}"), LATER, async || {
        let pods = installation.pods(role).await.ok()?;
        let new = |it: &&Pod| is_ready(it) && !it.uid().is_some_and(|uid| old.contains(&uid));
        let found = pods.iter().filter(new).count();
        (found == old.len() && pods.len() == found).then_some(())
    })
    .await
}

/// A connection to the file server that takes part in a task.
async fn enter(at: &str, task: &str, user: u32, role: ClientFileRole) -> anyhow::Result<RawConn> {
    let mut conn = RawConn::connect(at).await?;
    let request = ImFileLoginReq {
        user_id: user,
        task_id: task.to_owned(),
        file_role: role.into(),
    };
    conn.send(Command::FileLoginReq, 7, &request).await?;
    let answer: ImFileLoginRsp = conn.expect(Command::FileLoginRsp, SOON).await?;
    ensure!(answer.result_code == 0, "{answer:?}");
    Ok(conn)
}

/// Uploads a file, block by block as it is asked for.
async fn upload(conn: &mut RawConn, task: &str, user: u32, file: &Bytes) -> anyhow::Result<()> {
    loop {
        let frame = conn.recv(SOON).await?;
        if frame.command() == Some(Command::FileState) {
            let state: ImFileState = decode_checked(frame.body)?;
            ensure!(
                state.state() == ClientFileState::ClientFileDone,
                "{state:?}"
            );
            return Ok(());
        }
        let seq = frame.header.seq;
        let asked: ImFilePullDataReq = decode_checked(frame.body)?;
        let start = usize::try_from(asked.offset)?;
        let end = file.len().min(start + usize::try_from(asked.data_size)?);
        let block = ImFilePullDataRsp {
            result_code: 0,
            task_id: task.to_owned(),
            user_id: user,
            offset: asked.offset,
            file_data: file.slice(start..end),
        };
        conn.send(Command::FilePullDataRsp, seq, &block).await?;
    }
}

/// Fetches a stored file, from an offset to its end or to the number of blocks.
async fn download(
    conn: &mut RawConn,
    task: &str,
    user: u32,
    blocks: impl Iterator<Item = u32>,
) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    for block in blocks {
        let request = ImFilePullDataReq {
            task_id: task.to_owned(),
            user_id: user,
            trans_mode: TransferFileType::FileTypeOffline.into(),
            offset: block * u32::try_from(BLOCK)?,
            data_size: u32::try_from(BLOCK)?,
        };
        conn.send(Command::FilePullDataReq, 9, &request).await?;
        let answer: ImFilePullDataRsp = conn.expect(Command::FilePullDataRsp, SOON).await?;
        ensure!(answer.result_code == 0, "{answer:?}");
        all.extend_from_slice(&answer.file_data);
    }
    Ok(all)
}

/// Names and UIDs of all pods but those of roles that an installation can do without.
pub(crate) async fn others(installation: &Installation) -> BTreeMap<String, String> {
    let mut pods = installation.pod_ids().await.unwrap();
    let ours = ["file", "msfs", "http-api", "push"];
    let ours = ours.map(|role| format!("{}-{role}-", installation.name));
    pods.retain(|pod, _| !ours.iter().any(|it| pod.starts_with(it)));
    pods
}

/// Takes roles away, and waits until nothing of them runs.
pub(crate) async fn switch_off(installation: &Installation, roles: &[(&str, &str)]) {
    let fields = roles.iter();
    let fields: serde_json::Map<String, Value> = fields
        .map(|(field, _)| ((*field).to_owned(), Value::Null))
        .collect();
    installation.patch(&json!({"roles": fields})).unwrap();
    let names: Vec<&str> = roles.iter().map(|(_, name)| *name).collect();
    let selector = format!(
        "app.kubernetes.io/instance={},app.kubernetes.io/component in ({})",
        installation.name,
        names.join(",")
    );
    let kinds = "deployments,statefulsets,pods,services,configmaps,serviceaccounts,networkpolicies";
    let left = [
        "get",
        kinds,
        "-l",
        &selector,
        "-o",
        "name",
        "--ignore-not-found",
    ];
    let what = format!("nothing of {names:?} runs");
    until(&what, LATER, async || {
        let left = installation.namespace.kubectl(&left).ok()?;
        left.is_empty().then_some(())
    })
    .await
    .unwrap();
    installation.ready().await.unwrap();
}

/// What a login server tells of pictures.
async fn told_pictures(installation: &Installation) -> Option<String> {
    let at = installation.url().await.ok()?;
    let at = at.strip_prefix("http://")?.parse().ok()?;
    let (_, body) = http(at, "GET /msg_server", &[]).await.ok()?;
    let value: Value = serde_json::from_slice(&body).ok()?;
    Some(value["msfsPrior"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_pictures_come_and_go_and_no_other_pod_notices() {
    let installation = Installation::new("optional", small(), 1).await.unwrap();
    let before = others(&installation).await;
    let configured = told_pictures(&installation).await.unwrap();

    installation.patch(&both()).unwrap();
    installation.ready().await.unwrap();
    let object = installation.object().await.unwrap();
    for role in ["file", "msfs"] {
        let status = &object["status"]["roles"][role];
        assert_eq!(status["readyReplicas"], 1, "{status}");
        assert_eq!(installation.pods(role).await.unwrap().len(), 1, "{role}");
    }
    assert_eq!(others(&installation).await, before);
    // A picture goes through the Service, and outlives its pod.
    let at = address(&installation, "msfs").await.unwrap();
    let picture = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec();
    let (status, answer) = http(at, "PUT /me.gif", &picture).await.unwrap();
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let get = format!("GET /{}", answer["path"].as_str().unwrap());
    assert_eq!(http(at, &get, &[]).await.unwrap(), (200, picture.clone()));
    let inside = format!(
        "http://{}-msfs.{}.svc.cluster.local:8700/",
        installation.name,
        installation.namespace.name()
    );
    until("login tells where pictures are", LATER, async || {
        (told_pictures(&installation).await? == inside).then_some(())
    })
    .await
    .unwrap();
    replace(&installation, "msfs").await.unwrap();
    until("the picture is there again", LATER, async || {
        let (status, body) = http(at, &get, &[]).await.ok()?;
        (status == 200 && body == picture).then_some(())
    })
    .await
    .unwrap();

    switch_off(&installation, &[("file", "file"), ("msfs", "msfs")]).await;
    assert_eq!(others(&installation).await, before);
    until("login tells what it is configured to", LATER, async || {
        (told_pictures(&installation).await? == configured).then_some(())
    })
    .await
    .unwrap();
    // Their volumes stay, and are taken up again.
    let claims = installation.namespace.api::<PersistentVolumeClaim>();
    let claims = claims.list(&ListParams::default()).await.unwrap();
    let names: Vec<String> = claims
        .items
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect();
    for role in ["file", "msfs"] {
        let claim = format!("data-{}-{role}-0", installation.name);
        assert!(names.contains(&claim), "{names:?}");
    }
    installation.patch(&both()).unwrap();
    installation.ready().await.unwrap();
    let at = address(&installation, "msfs").await.unwrap();
    until("the picture is there once more", LATER, async || {
        let (status, body) = http(at, &get, &[]).await.ok()?;
        (status == 200 && body == picture).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(others(&installation).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_waits_for_somebody_who_is_away_through_new_pods_of_all_that_carry_it() {
    let spec = with(small(), &both());
    let installation = Installation::new("files", spec, 2).await.unwrap();
    tell_address(&installation).await.unwrap();
    let file: Bytes = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let size = u32::try_from(file.len()).unwrap();
    let (sender, _events) = installation.client(1).await.unwrap();
    let receiver = {
        let (receiver, _events) = installation.client(2).await.unwrap();
        let id = receiver.user_id();
        receiver.close().await;
        id
    };
    let offer = FileOffer {
        to: UserId::from_wire(receiver).unwrap(),
        name: "C:/Budget 2026.xlsx".to_owned(),
        size,
        mode: TransferFileType::FileTypeOffline,
    };
    // Msg servers find the file server by its Service, which they knew before it was there.
    let answer = until("a task", LATER, async || {
        let answer = sender.offer_file(&offer).await.ok()?;
        (answer.result_code == 0).then_some(answer)
    })
    .await
    .unwrap();
    let at = answer.ip_addr_list.first().unwrap();
    let at = format!("{}:{}", at.ip, at.port);
    assert_eq!(
        at,
        address(&installation, "file").await.unwrap().to_string()
    );
    let (task, from) = (answer.task_id, sender.user_id());
    let upload_role = ClientFileRole::ClientOfflineUpload;
    let mut conn = enter(&at, &task, from, upload_role).await.unwrap();
    upload(&mut conn, &task, from, &file).await.unwrap();
    sender.add_offline_file(&offer, &task).await.unwrap();
    sender.close().await;

    replace(&installation, "file").await.unwrap();
    replace(&installation, "msg").await.unwrap();
    installation.ready().await.unwrap();
    let (away, _events) = installation.client_again(2).await.unwrap();
    let waiting = until("the file waits", LATER, async || {
        let waiting = away.offline_files().await.ok()?;
        (!waiting.offline_file_list.is_empty()).then_some(waiting)
    })
    .await
    .unwrap();
    let listed = waiting.offline_file_list.first().unwrap();
    assert_eq!(
        (listed.task_id.as_str(), listed.file_size),
        (task.as_str(), size)
    );
    let role = ClientFileRole::ClientOfflineDownload;
    let last = size.div_ceil(u32::try_from(BLOCK).unwrap());
    // Its pod goes in mid-download, which goes on at its offset.
    let mut conn = enter(&at, &task, receiver, role).await.unwrap();
    let mut fetched = download(&mut conn, &task, receiver, 0..3).await.unwrap();
    drop(conn);
    replace(&installation, "file").await.unwrap();
    let mut conn = until("the file server again", LATER, async || {
        enter(&at, &task, receiver, role).await.ok()
    })
    .await
    .unwrap();
    fetched.extend(download(&mut conn, &task, receiver, 3..last).await.unwrap());
    assert!(
        fetched == file,
        "{} of {} bytes are the same file",
        fetched.len(),
        file.len()
    );
}
