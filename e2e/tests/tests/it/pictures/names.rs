//! What a path leads to, and how much of it is sent.

use image::ImageFormat;

use super::web::{Connection, ask, get, put, send};
use super::{alone, picture, stored};

/// S-78: no path leads anywhere but to a picture, and nothing of the store but pictures is given out.
#[tokio::test]
async fn no_path_leads_out_of_the_store() {
    let (platform, address) = alone(&[]).await;
    let path = stored(address, "a.png", &picture(40, 20, ImageFormat::Png)).await;
    std::fs::write(platform.dir().join("pictures/secret"), "secret").unwrap();
    let hex = path
        .rsplit('/')
        .next()
        .unwrap()
        .trim_end_matches(".png")
        .to_owned();
    let folder = path.rsplit_once('/').unwrap().0.to_owned();
    for other in [
        "/".to_owned(),
        "/g0/".to_owned(),
        folder.clone(),
        format!("{folder}/"),
        format!("{folder}/../../../secret"),
        format!("{folder}/..%2f..%2f..%2fsecret"),
        format!("{folder}/{hex}"),
        format!("{folder}/{hex}.jpg"),
        format!("{folder}/{}.png", hex.to_uppercase()),
        format!("/g0/000/000/{hex}.png"),
        format!("{path}/"),
        format!("{path}%00.png"),
        "/g0/000/000/../../../../../../etc/passwd".to_owned(),
        "/../secret".to_owned(),
        "/secret".to_owned(),
        format!("/{}/{hex}", &hex[..2]),
        "/draft/".to_owned(),
        "http://elsewhere.invalid/g0/000/000/a.png".to_owned(),
    ] {
        let answer = get(address, &other, &[]).await;
        assert!([400, 404].contains(&answer.status), "{other}: {answer:?}");
        assert!(!answer.body.windows(6).any(|it| it == b"secret"), "{other}");
    }
    // A name that nobody was told is not there, and the tests of others know no more of it.
    let guessed = format!("/g0/000/000/{}.png", "0".repeat(32));
    assert_eq!(get(address, &guessed, &[]).await.status, 404);
    for method in ["DELETE", "OPTIONS", "TRACE", "PATCH"] {
        let answer = ask(method, address, &path, &[]).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, PUT"));
    }
    assert_eq!(get(address, &path, &[]).await.status, 200);
}

#[tokio::test]
async fn a_part_of_a_picture_is_sent_and_nothing_to_who_has_it() {
    let (_platform, address) = alone(&[]).await;
    let content = picture(300, 200, ImageFormat::Bmp);
    let path = stored(address, "a.bmp", &content).await;
    let size = content.len();
    let whole = get(address, &path, &[]).await;
    assert_eq!((whole.status, &whole.body), (200, &content));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let cached = whole.header("cache-control").unwrap();
    assert!(
        cached.contains("immutable") && cached.contains("max-age=31536000"),
        "{cached}"
    );
    let tag = whole.header("etag").unwrap().to_owned();

    let head = ask("HEAD", address, &path, &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        head.header("content-length"),
        Some(size.to_string().as_str())
    );
    assert_eq!(head.header("etag"), Some(tag.as_str()));

    for (range, expected) in [
        ("bytes=0-9".to_owned(), 0..10),
        (format!("bytes={}-", size - 5), size - 5..size),
        ("bytes=-7".to_owned(), size - 7..size),
        ("bytes=100000-131100".to_owned(), 100_000..131_101),
    ] {
        let part = get(address, &path, &[("Range", &range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.body, content[expected.clone()], "{range}");
        let told = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!(part.header("content-range"), Some(told.as_str()));
    }
    let beyond = get(address, &path, &[("Range", &format!("bytes={size}-"))]).await;
    assert_eq!((beyond.status, beyond.body.len()), (416, 0));
    assert_eq!(
        beyond.header("content-range"),
        Some(format!("bytes */{size}").as_str())
    );

    let has = get(
        address,
        &path,
        &[("If-None-Match", &tag), ("Range", "bytes=0-9")],
    )
    .await;
    assert_eq!((has.status, has.body.len()), (304, 0));
    let other = get(address, &path, &[("If-None-Match", "\"other\"")]).await;
    assert_eq!(other.status, 200);
    let same = get(
        address,
        &path,
        &[("If-Range", &tag), ("Range", "bytes=0-9")],
    )
    .await;
    assert_eq!(same.status, 206);
    let changed = get(
        address,
        &path,
        &[("If-Range", "\"other\""), ("Range", "bytes=0-9")],
    )
    .await;
    assert_eq!((changed.status, changed.body.len()), (200, size));
}

/// What is no picture is a file to be saved, whatever its name and its sender say; nothing runs.
#[tokio::test]
async fn what_is_no_picture_is_saved_and_not_shown() {
    let (_platform, address) = alone(&[]).await;
    for (name, content) in [
        (
            "a.svg",
            &b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"[..],
        ),
        ("a.html", b"<script>alert(1)</script>"),
        ("a.jpg", b"<html><script>alert(1)</script>"),
        ("a.exe", b"MZ\x90"),
        ("empty.png", b""),
    ] {
        let path = stored(address, name, content).await;
        let answer = get(address, &path, &[]).await;
        assert_eq!((answer.status, &answer.body[..]), (200, content));
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream"),
            "{name}"
        );
        assert_eq!(answer.header("content-disposition"), Some("attachment"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(
            answer
                .header("content-security-policy")
                .unwrap()
                .contains("sandbox")
        );
        let scaled = get(address, &format!("{path}_100x100.jpg"), &[]).await;
        assert_eq!(scaled.status, 404, "{name}");
    }
    let gif = picture(30, 20, ImageFormat::Gif);
    let path = stored(address, "really-a-gif.jpg", &gif).await;
    let answer = get(address, &path, &[]).await;
    assert_eq!(answer.header("content-type"), Some("image/gif"));
    assert_eq!(answer.header("content-disposition"), None);
}

#[tokio::test]
async fn a_picture_can_be_put_and_many_asked_for_on_one_connection() {
    let (_platform, address) = alone(&[]).await;
    let content = picture(40, 20, ImageFormat::Jpeg);
    for (path, ending) in [
        ("/", ".jpg"),
        ("/some/a_40x20.JPG", "_40x20.JPG"),
        ("/a", ".jpg"),
    ] {
        let answer = send(address, &put(path, &content)).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let json = answer.json();
        let url = json["url"].as_str().unwrap();
        assert_eq!(answer.header("location"), Some(url));
        assert!(url.ends_with(ending), "{url}");
        let mut connection = Connection::open(address).await;
        let path = json["path"].as_str().unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n");
        for _ in 0..3 {
            assert_eq!(connection.ask(request.as_bytes()).await.body, content);
        }
    }
}
