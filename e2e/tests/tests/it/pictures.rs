//! Pictures and avatars (S-42, S-78): the msfs server over real sockets, as the original clients use it, and
//! as nobody should.

mod bounds;
mod https;
mod names;
pub(crate) mod original;
mod pace;
mod pixels;
mod public;
mod room;
pub(crate) mod web;

use std::net::SocketAddr;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, RgbImage};

use crate::support::*;
use web::{Answer, form, get, send};

/// An msfs server alone, which needs no other role.
async fn alone(set: &[&str]) -> (Platform, SocketAddr) {
    let mut platform = Platform::none().unwrap();
    let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
    platform.start_msfs("pictures", &set).unwrap();
    platform.ready("pictures").await.unwrap();
    let address = platform.msfs_address("pictures");
    (platform, address)
}

/// A picture of this size with something to see.
pub(crate) fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let shade = |at: u32, of: u32| u8::try_from(at * 255 / of.max(1)).unwrap_or(u8::MAX);
    let pixels = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([shade(x, width), shade(y, height), 128])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = DynamicImage::ImageRgb8(pixels);
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Width and height of a JPEG.
fn jpeg_size(bytes: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).unwrap();
    (picture.width(), picture.height())
}

/// Stores a picture and tells its path.
async fn stored(address: SocketAddr, name: &str, content: &[u8]) -> String {
    let answer = send(address, &form(name, content)).await;
    path_of(&answer)
}

/// The path that an upload was answered with.
pub(crate) fn path_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["error_code"], 0, "{json}");
    format!("/{}", json["path"].as_str().unwrap())
}

/// The code of a refused upload.
fn code_of(answer: &Answer) -> (u16, u64) {
    (answer.status, answer.json()["error_code"].as_u64().unwrap())
}

/// S-78: what was stored and what was scaled is there after the server was killed, and what was on its way
/// has left nothing.
#[tokio::test]
async fn pictures_survive_a_kill_and_what_was_on_its_way_leaves_nothing() {
    let (mut platform, address) = alone(&[]).await;
    let content = picture(400, 200, ImageFormat::Png);
    let path = stored(address, "a.png", &content).await;
    let small = get(address, &format!("{path}_100x100.jpg"), &[]).await;
    assert_eq!(small.status, 200);
    let unfinished = form("b.png", &picture(800, 800, ImageFormat::Bmp));
    let mut half = web::Connection::open(address).await;
    half.write(&unfinished[..unfinished.len() / 2]).await;
    let drafts = platform.dir().join("pictures/draft");
    let count = || std::fs::read_dir(&drafts).unwrap().count();
    im_e2e::wait::until("it is on its way", WAIT, || async {
        (count() == 1).then_some(())
    })
    .await
    .unwrap();
    platform.kill_and_restart("pictures").await.unwrap();
    assert_eq!(count(), 0);
    assert_eq!(get(address, &path, &[]).await.body, content);
    let again = get(address, &format!("{path}_100x100.jpg"), &[]).await;
    assert_eq!(again.body, small.body);
    let metrics = im_e2e::gauges::Metrics::read(platform.process("pictures").unwrap());
    let scaled = metrics.await.unwrap().sum("im_msfs_scaled", "made");
    assert!(scaled.abs() < 0.5, "what was scaled is kept: {scaled}");
}

/// S-87: without the role clients are told what the original tells, nobody listens, and they chat.
#[tokio::test]
async fn without_the_role_nobody_listens_and_people_chat() {
    let mut platform = own_platform(2, &["msfs.enabled=false"]).await;
    let url = platform.url();
    let told = im_client::dispatch::lookup(&url, None, WAIT).await.unwrap();
    assert_eq!(told.files.as_deref(), Some("http://127.0.0.1:8700/"));
    let address = platform.msfs_address("all");
    let refused = tokio::net::TcpStream::connect(address).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    let msg = platform.msg_address("all");
    let mut a = Terminal::login(msg, 1, Windows).await;
    let mut b = Terminal::login(msg, 2, Windows).await;
    a.say(with_user(2), "without pictures").await;
    assert_eq!(text_of(&b.message().await), "without pictures");
    let pictures = platform.data_dir().join("pictures");
    assert!(!pictures.try_exists().unwrap());
}

/// A stop lets a client take the answer that it has begun to take, and ends in time.
#[tokio::test]
async fn a_stop_lets_an_answer_end() {
    let (mut platform, address) = alone(&[]).await;
    let content = picture(1_500, 1_000, ImageFormat::Bmp);
    let path = stored(address, "a.bmp", &content).await;
    let mut slow = web::Connection::open(address).await;
    slow.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await;
    let begin = slow.read_some().await;
    let ended = platform.process("pictures").unwrap().terminate();
    let (ended, rest) = tokio::join!(ended, slow.read_to_end());
    assert!(ended.unwrap().success());
    let answer = Answer::parse(&[begin, rest].concat());
    assert_eq!(answer.body, content);
}

/// How long a test waits for what must happen within the configured second.
const CUT: Duration = Duration::from_secs(10);
