use proptest::prelude::*;

use super::*;

const ALLOWANCE: usize = 1_024;

/// What a form holds that comes in pieces of this size: the ending, and the content.
fn read(boundary: &str, body: &[u8], piece: usize) -> Result<(String, Vec<u8>), FormError> {
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let mut form = Form::new(content_type.as_bytes(), ALLOWANCE)?;
    let (mut ending, mut content, mut ended) = (String::new(), Vec::new(), false);
    for piece in body.chunks(piece) {
        for event in form.push(piece)? {
            match event {
                Event::File(found) => found.as_str().clone_into(&mut ending),
                Event::Content(bytes) => content.extend_from_slice(&bytes),
                Event::End => ended = true,
            }
        }
    }
    form.finish()?;
    assert!(ended);
    Ok((ending, content))
}

fn whole(body: &str) -> Result<(String, Vec<u8>), FormError> {
    read("XX", body.as_bytes(), usize::MAX)
}

#[test]
fn the_file_of_each_original_client_is_found() {
    for (client, boundary, body) in [
        (
            "Windows",
            "----------------------------a1b2c3",
            "------------------------------a1b2c3\r\n\
             Content-Disposition: form-data; name=\"image\"; filename=\"C:\\a_12x34.jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n\
             DATA\r\n------------------------------a1b2c3--\r\n",
        ),
        (
            "Mac and iOS",
            "Boundary+0xAbCdEfGhIj",
            "--Boundary+0xAbCdEfGhIj\r\n\
             Content-Disposition: form-data; name=\"type\"\r\n\r\n\
             im_image\r\n\
             --Boundary+0xAbCdEfGhIj\r\n\
             Content-Disposition: form-data; name=\"image\"; filename=\"a_12x34.jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n\
             DATA\r\n--Boundary+0xAbCdEfGhIj--\r\n",
        ),
        (
            "Android",
            "7cd4a6d158c",
            "--7cd4a6d158c\r\n\
             content-disposition:form-data;name=\"file\";filename=\"a_12x34.jpg\"\r\n\
             content-type:image/jpg\r\n\
             content-transfer-encoding: binary\r\n\r\n\
             DATA\r\n--7cd4a6d158c--",
        ),
    ] {
        for piece in [1, 7, usize::MAX] {
            let found = read(boundary, body.as_bytes(), piece);
            let expected = Ok(("_12x34.jpg".to_owned(), b"DATA".to_vec()));
            assert_eq!(found, expected, "{client}, {piece} bytes at a time");
        }
    }
}

#[test]
fn what_is_missing_has_the_originals_code() {
    const HEAD: &str =
        "Content-Disposition: form-data; filename=\"a.jpg\"\r\nContent-Type: x\r\n\r\n";
    let long = format!(
        "--XX\r\n{}",
        HEAD.replace("a.jpg", &format!("{}.jpg", "a".repeat(252)))
    );
    for (code, body) in [
        (
            2,
            "--XX\r\nContent-Type: x\r\n\r\nDATA\r\n--XX--".to_owned(),
        ),
        (
            3,
            "--XX\r\nContent-Disposition: form-data\r\n\r\nDATA\r\n--XX--".to_owned(),
        ),
        (
            3,
            format!("--XX\r\n{}DATA\r\n--XX--", HEAD.replace("jpg\"", "jpg")),
        ),
        (5, format!("--YY\r\n{HEAD}DATA\r\n--YY--")),
        (5, String::new()),
        (
            6,
            "--XX\r\nContent-Disposition: form-data; filename=\"a.jpg\"\r\n\r\nD\r\n--XX--"
                .to_owned(),
        ),
        (7, format!("--XX\r\n{}", HEAD.trim_end())),
        (8, format!("--XX\r\n{HEAD}DATA")),
        (8, format!("--XX\r\n{HEAD}DATA--XX--")),
        (
            9,
            format!("--XX\r\n{}DATA\r\n--XX--", HEAD.replace("jpg", "j/g")),
        ),
        (
            10,
            format!("--XX\r\n{}DATA\r\n--XX--", HEAD.replace("a.jpg", "a")),
        ),
        (11, long),
    ] {
        let error = whole(&body).unwrap_err();
        assert_eq!(error as u8, code, "{error:?}: {body}");
    }
    for content_type in ["", "multipart/form-data", "a; boundary=", "a; boundary=\"X"] {
        let form = Form::new(content_type.as_bytes(), ALLOWANCE);
        assert_eq!(form.unwrap_err(), FormError::NoBoundary, "{content_type}");
    }
    assert_eq!(FormError::NoBoundary as u8, 4);
}

#[test]
fn a_boundary_is_what_its_type_says_with_quotes_and_parameters_or_without() {
    for (content_type, expected) in [
        ("multipart/form-data; boundary=a b+c", "a b+c"),
        ("multipart/form-data;boundary=\"a;b\"", "a;b"),
        ("multipart/form-data; boundary=ab; charset=UTF-8", "ab"),
    ] {
        let found = boundary(content_type.as_bytes());
        assert_eq!(found, Some(expected.as_bytes()));
    }
    let longest = format!("boundary={}", "b".repeat(MAX_BOUNDARY));
    assert!(boundary(longest.as_bytes()).is_some());
    assert!(boundary(format!("{longest}b").as_bytes()).is_none());
}

#[test]
fn heads_and_other_parts_have_one_allowance() {
    let form = |other: usize| {
        let other = "o".repeat(other);
        format!(
            "--XX\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\n{other}\r\n--XX\r\n\
             Content-Disposition: form-data; filename=\"a.jpg\"\r\nContent-Type: x\r\n\r\n\
             DATA\r\n--XX--"
        )
    };
    let heads = 2 * "\r\nContent-Disposition: form-data; ".len()
        + "name=\"type\"filename=\"a.jpg\"\r\nContent-Type: x".len();
    let room = ALLOWANCE - heads;
    for piece in [1, 100, usize::MAX] {
        assert!(read("XX", form(room).as_bytes(), piece).is_ok());
        let beyond = read("XX", form(room + 1).as_bytes(), piece);
        assert_eq!(beyond, Err(FormError::TooLong), "{piece}");
    }
    let endless = format!("--XX\r\nA: {}", "a".repeat(10 * ALLOWANCE));
    assert_eq!(whole(&endless), Err(FormError::TooLong));
    let preamble = "p".repeat(10 * ALLOWANCE);
    assert_eq!(whole(&preamble), Err(FormError::TooLong));
}

#[test]
fn what_follows_the_file_is_not_kept() {
    let mut form = Form::new(b"a; boundary=XX", ALLOWANCE).unwrap();
    let body = "--XX\r\nContent-Disposition: x; filename=\"a.b\"\r\nContent-Type: x\r\n\r\n\
                DATA\r\n--XX\r\nContent-Disposition: x; filename=\"no name\"\r\n";
    form.push(body.as_bytes()).unwrap();
    for _ in 0..100 {
        assert_eq!(form.push(&[b'x'; 10_000]), Ok(Vec::new()));
        assert_eq!(form.buffer.capacity(), 0);
    }
    assert_eq!(form.finish(), Ok(()));
}

proptest! {
    #[test]
    fn content_comes_out_as_it_went_in_however_it_was_cut(
        content in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'X'), any::<u8>()], 0..600),
        piece in 1_usize..200,
    ) {
        prop_assume!(memchr::memmem::find(&content, b"\r\n--XX").is_none());
        let head: &[u8] = b"--XX\r\nContent-Disposition: x; filename=\"a.b\"\r\nContent-Type: x\r\n\r\n";
        let body = [head, &content, b"\r\n--XX--\r\n"].concat();
        let (ending, found) = read("XX", &body, piece).unwrap();
        prop_assert_eq!(ending, ".b");
        // The boundary's dashes may have stood there already.
        let at = memchr::memmem::find(&[&content[..], b"\r\n--XX"].concat(), b"\r\n--XX").unwrap();
        prop_assert_eq!(&found[..], &content[..at]);
    }

    #[test]
    fn no_bytes_make_it_panic_or_keep_more_than_it_may(
        body in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'X'), Just(b':'), any::<u8>()], 0..3_000),
        piece in 1_usize..400,
    ) {
        let mut form = Form::new(b"a; boundary=XX", ALLOWANCE).unwrap();
        for piece in body.chunks(piece) {
            if form.push(piece).is_err() {
                break;
            }
            prop_assert!(form.buffer.len() <= ALLOWANCE + 400);
        }
        let _whole_or_not = form.finish();
    }
}
