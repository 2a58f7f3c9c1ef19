//! Pictures of many pixels and few bytes.

use im_e2e::gauges::{Metrics, resident_kib};
use im_e2e::usage;
use image::{DynamicImage, ImageFormat};

use super::web::{form, get, send};
use super::{alone, code_of, jpeg_size, stored};
use crate::support::*;

/// A picture of one color, which takes few bytes.
fn flat(picture: &DynamicImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A PNG that says that it has this size, and nothing more.
fn header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = flat(&DynamicImage::new_luma8(1, 1));
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    bytes
}

/// S-78: a picture of more pixels than the bound is refused at once, at the bound it is stored.
#[tokio::test]
async fn a_picture_of_too_many_pixels_is_refused() {
    let (_platform, address) = alone(&[]).await;
    for (width, height, expected) in [
        (8_192, 4_882, (200, 0)),
        (8_193, 1, (422, 12)),
        (1, 8_193, (422, 12)),
        (8_192, 4_883, (422, 12)),
        (u32::MAX, u32::MAX, (422, 12)),
    ] {
        let answer = send(address, &form("a.png", &header(width, height))).await;
        assert_eq!(code_of(&answer), expected, "{width} x {height}");
    }
}

/// Many pictures whose pixels take much memory, all asked for at once: the memory of the server stays below
/// what its workers may take, and is given back. One that would take more comes as it is.
#[tokio::test]
async fn pictures_that_unfold_cost_bounded_memory_and_it_is_given_back() {
    const WORKERS: u64 = 2;
    const DECODE_KIB: u64 = 64 << 10;
    let (mut platform, address) = alone(&[]).await;
    let pid = platform.process("pictures").unwrap().pid();
    // 38 MiB when decoded, of few KiB.
    let bomb = flat(&DynamicImage::new_luma8(8_000, 8_000).crop_imm(0, 0, 8_000, 4_999));
    assert!(bomb.len() < 256 << 10, "{} bytes", bomb.len());
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(stored(address, "a.png", &bomb).await);
    }
    let before = resident_kib(pid).unwrap();
    usage::forget_peak(pid).unwrap();
    let asked = paths.iter().flat_map(|path| {
        let scaled = ["32x32", "100x100"].map(|size| format!("{path}_{size}.jpg"));
        scaled.map(|path| async move { get(address, &path, &[]).await })
    });
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(jpeg_size(&answer.body).0 <= 100);
    }
    let peak = usage::memory_kib(pid, "VmHWM").unwrap();
    let most = before + WORKERS * DECODE_KIB + (32 << 10);
    assert!(peak < most, "{peak} KiB, {before} before");
    im_e2e::wait::until("the memory is back", WAIT * 2, || async {
        (resident_kib(pid).ok()? < before + (24 << 10)).then_some(())
    })
    .await
    .unwrap();

    // 122 MiB when decoded.
    let large = flat(&DynamicImage::new_rgba8(8_000, 4_000));
    let path = stored(address, "a.png", &large).await;
    let answer = get(address, &format!("{path}_100x100.jpg"), &[]).await;
    assert_eq!(answer.header("content-type"), Some("image/png"));
    assert_eq!(answer.body, large, "as it is");
    let metrics = Metrics::read(platform.process("pictures").unwrap())
        .await
        .unwrap();
    assert!(metrics.sum("im_msfs_scale_too_large", "") > 0.5);
    assert!(metrics.sum("im_msfs_answers", "unscaled") > 0.5);
}
