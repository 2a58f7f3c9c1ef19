//! A picture made smaller: bytes in, the bytes of a JPEG out, within stated pixels and memory.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
};

use crate::picture::{Kind, PREFIX, Picture};

/// Of the JPEGs that are made, 1 to 100.
const QUALITY: u8 = 85;

/// What a picture may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Longest side, pixels.
    pub(crate) max_side: u32,
    /// Pixels in all.
    pub(crate) max_pixels: u32,
    /// Bytes that its decoder may hold.
    pub(crate) memory: u64,
}

impl Bounds {
    /// Whether a picture of this size is within the bounds in pixels.
    pub(crate) fn has_room_for(&self, (width, height): (u32, u32)) -> bool {
        let pixels = u64::from(width) * u64::from(height);
        width.max(height) <= self.max_side && pixels <= self.max_pixels.into()
    }
}

/// Why a picture cannot be made smaller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScaleError {
    /// It is none.
    #[error("know what kind of picture it is")]
    Kind,
    /// It has more pixels than the bounds, or takes more memory.
    #[error("keep within the bounds of pixels and memory")]
    TooLarge,
    /// It is damaged, or uses what the decoder does not know.
    #[error("decode or encode it")]
    Codec(#[from] ImageError),
}

/// Scales a picture so that it fits into a square of this side, never up, and turns it as its camera said.
/// What shines through becomes white. Takes a while: not for the threads of connections.
pub(crate) fn scale(bytes: &[u8], side: u32, bounds: &Bounds) -> Result<Vec<u8>, ScaleError> {
    let head = bytes.get(..PREFIX).unwrap_or(bytes);
    let known = Picture::of(head).ok_or(ScaleError::Kind)?;
    if known.size.is_some_and(|size| !bounds.has_room_for(size)) {
        return Err(ScaleError::TooLarge);
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format(known.kind));
    reader.limits(limits(bounds));
    let mut decoder = reader.into_decoder()?;
    let held = decoder.total_bytes().saturating_mul(copies(&known));
    if !bounds.has_room_for(decoder.dimensions()) || held > bounds.memory {
        return Err(ScaleError::TooLarge);
    }
    let orientation = decoder.orientation()?;
    let picture = DynamicImage::from_decoder(decoder)?;
    let mut small = fit(picture, side);
    small.apply_orientation(orientation);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&on_white(&small))?;
    Ok(jpeg)
}

/// How often a decoder holds the picture: what comes in passes is held as 16-bit coefficients as well,
/// frames of an animation beside the picture.
const fn copies(picture: &Picture) -> u64 {
    match picture.kind {
        Kind::Jpeg if picture.is_progressive => 3,
        Kind::Jpeg | Kind::Png | Kind::Bmp => 1,
        Kind::Gif | Kind::Webp => 2,
    }
}

const fn format(kind: Kind) -> ImageFormat {
    match kind {
        Kind::Jpeg => ImageFormat::Jpeg,
        Kind::Png => ImageFormat::Png,
        Kind::Gif => ImageFormat::Gif,
        Kind::Webp => ImageFormat::WebP,
        Kind::Bmp => ImageFormat::Bmp,
    }
}

fn limits(bounds: &Bounds) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(bounds.max_side);
    limits.max_image_height = Some(bounds.max_side);
    limits.max_alloc = Some(bounds.memory);
    limits
}

fn fit(picture: DynamicImage, side: u32) -> DynamicImage {
    let longest = picture.width().max(picture.height());
    if longest <= side {
        picture
    } else if longest / 4 >= side {
        // Every pixel counts once, without a second picture in between.
        picture.thumbnail(side, side)
    } else {
        picture.resize(side, side, FilterType::Triangle)
    }
}

fn on_white(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let picture = picture.to_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
        let mixed = |color: u8| {
            let sum = u16::from(color) * u16::from(alpha) + 255 * u16::from(255 - alpha);
            u8::try_from(sum / 255).unwrap_or(u8::MAX)
        };
        Rgb([mixed(red), mixed(green), mixed(blue)])
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Rgba};
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_side: 2_000,
        max_pixels: 1_000_000,
        memory: 8 << 20,
    };

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn size(jpeg: &[u8]) -> (u32, u32) {
        let picture = image::load_from_memory_with_format(jpeg, ImageFormat::Jpeg).unwrap();
        (picture.width(), picture.height())
    }

    #[test]
    fn every_kind_fits_into_the_square_and_keeps_its_shape() {
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Gif,
            ImageFormat::WebP,
            ImageFormat::Bmp,
        ] {
            let picture = DynamicImage::new_rgb8(400, 200);
            let bytes = written(&picture, format);
            for (side, expected) in [(32, (32, 16)), (100, (100, 50)), (310, (310, 155))] {
                let small = scale(&bytes, side, &BOUNDS).unwrap();
                assert_eq!(size(&small), expected, "{format:?}");
            }
        }
    }

    #[test]
    fn a_small_picture_stays_as_small_as_it_is() {
        let bytes = written(&DynamicImage::new_rgb8(20, 10), ImageFormat::Png);
        assert_eq!(size(&scale(&bytes, 100, &BOUNDS).unwrap()), (20, 10));
    }

    #[test]
    fn what_shines_through_becomes_white() {
        let clear = ImageBuffer::from_pixel(40, 40, Rgba([255_u8, 0, 0, 0]));
        let bytes = written(&DynamicImage::ImageRgba8(clear), ImageFormat::Png);
        let small = scale(&bytes, 32, &BOUNDS).unwrap();
        let small = image::load_from_memory(&small).unwrap().to_rgb8();
        assert!(
            small
                .pixels()
                .all(|pixel| pixel.0.iter().all(|it| *it > 250))
        );
    }

    /// Width 40, height 20, black on the left and white on the right; a camera that was held upright.
    #[test]
    fn a_picture_is_turned_as_its_camera_says_and_the_camera_is_forgotten() {
        let sides = RgbImage::from_fn(40, 20, |x, _| Rgb(if x < 20 { [0; 3] } else { [255; 3] }));
        let plain = written(&DynamicImage::ImageRgb8(sides), ImageFormat::Jpeg);
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
        exif.extend([0, 6, 0, 0, 0, 0, 0, 0]);
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        let turned = [&plain[..2], &[0xff, 0xe1], &length, &exif, &plain[2..]].concat();
        let small = scale(&turned, 100, &BOUNDS).unwrap();
        assert_eq!(size(&small), (20, 40));
        let picture = image::load_from_memory(&small).unwrap().to_rgb8();
        assert!(picture.get_pixel(10, 5).0[0] < 50 && picture.get_pixel(10, 35).0[0] > 200);
        assert!(memchr::memmem::find(&small, b"Exif").is_none());
    }

    #[test]
    fn pixels_and_memory_are_bounded_at_the_bound() {
        let png =
            |width, height| written(&DynamicImage::new_luma8(width, height), ImageFormat::Png);
        let is_too_large = |bytes: &[u8], bounds: &Bounds| {
            matches!(scale(bytes, 32, bounds), Err(ScaleError::TooLarge))
        };
        assert!(!is_too_large(&png(2_000, 500), &BOUNDS));
        assert!(is_too_large(&png(2_001, 1), &BOUNDS), "a side");
        assert!(is_too_large(&png(1_000, 1_001), &BOUNDS), "pixels");
        let memory = |memory| Bounds { memory, ..BOUNDS };
        let exact = png(1_000, 100);
        assert!(!is_too_large(&exact, &memory(100_000)));
        assert!(is_too_large(&exact, &memory(99_999)));
    }

    #[test]
    fn a_picture_that_says_it_is_huge_costs_nothing() {
        let mut png = written(&DynamicImage::new_luma8(1, 1), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        assert!(matches!(
            scale(&png, 32, &BOUNDS),
            Err(ScaleError::TooLarge)
        ));
    }

    #[test]
    fn what_is_no_picture_or_is_cut_off_is_an_error() {
        assert!(matches!(
            scale(b"<svg/>", 32, &BOUNDS),
            Err(ScaleError::Kind)
        ));
        let whole = written(&DynamicImage::new_rgb8(64, 64), ImageFormat::Png);
        let cut = scale(&whole[..whole.len() / 2], 32, &BOUNDS);
        assert!(matches!(cut, Err(ScaleError::Codec(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_pictures_are_errors_and_no_panics(
            format in prop_oneof![
                Just(ImageFormat::Jpeg), Just(ImageFormat::Png), Just(ImageFormat::Gif),
                Just(ImageFormat::WebP), Just(ImageFormat::Bmp),
            ],
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = written(&DynamicImage::new_rgb8(50, 40), format);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            drop(scale(&bytes, 32, &BOUNDS));
        }
    }
}
