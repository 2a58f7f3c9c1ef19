//! What bytes are, whatever their name or their sender says: the kind of a picture and its size in pixels,
//! read from the first bytes alone.

/// Bytes from the beginning of a file within which its kind and size are looked for. A picture whose size
/// stands behind them is one of unknown size.
pub(crate) const PREFIX: usize = 64 * 1024;

/// A kind of picture that is shown where it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Jpeg,
    Png,
    Gif,
    Webp,
    Bmp,
}

impl Kind {
    /// Its media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Bmp => "image/bmp",
        }
    }

    /// The kind with this media type.
    pub(crate) fn of(media_type: &str) -> Option<Self> {
        let mut all = [Self::Jpeg, Self::Png, Self::Gif, Self::Webp, Self::Bmp].into_iter();
        all.find(|kind| kind.media_type() == media_type)
    }

    /// The usual extension.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Bmp => "bmp",
        }
    }
}

/// A picture as its first bytes describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) kind: Kind,
    /// Width and height in pixels, if they stand in the first bytes.
    pub(crate) size: Option<(u32, u32)>,
    /// Whether it comes in passes, all of which a decoder holds.
    pub(crate) is_progressive: bool,
}

impl Picture {
    /// The picture that begins with these bytes; `None` for anything else.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let plain = |kind, size| Self {
            kind,
            size,
            is_progressive: false,
        };
        if bytes.starts_with(b"\xff\xd8\xff") {
            let frame = jpeg_frame(bytes);
            return Some(Self {
                kind: Kind::Jpeg,
                size: frame.map(|frame| frame.size),
                is_progressive: frame.is_none_or(|frame| frame.is_progressive),
            });
        }
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            let size = be32(bytes, 16).zip(be32(bytes, 20));
            return Some(plain(Kind::Png, size));
        }
        if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
            let size = le16(bytes, 6).zip(le16(bytes, 8));
            return Some(plain(Kind::Gif, size));
        }
        if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            return Some(plain(Kind::Webp, webp_size(bytes)));
        }
        // Two letters are too few to be sure; the size of the header follows.
        if bytes.starts_with(b"BM")
            && le32(bytes, 14).is_some_and(|size| (12..=124).contains(&size))
        {
            return Some(plain(Kind::Bmp, bmp_size(bytes)));
        }
        None
    }
}

#[derive(Clone, Copy)]
struct Frame {
    size: (u32, u32),
    is_progressive: bool,
}

/// The frame header of a JPEG: walks from marker to marker.
fn jpeg_frame(bytes: &[u8]) -> Option<Frame> {
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        match marker {
            // Fill.
            0xff => at += 1,
            // Without a length.
            0x01 | 0xd0..=0xd8 => at += 2,
            // The picture itself, or its end.
            0xd9 | 0xda => return None,
            // Frames; the others of this range are tables.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let height = be16(bytes, at + 5)?;
                let width = be16(bytes, at + 7)?;
                return Some(Frame {
                    size: (width, height),
                    is_progressive: !matches!(marker, 0xc0 | 0xc1),
                });
            }
            _ => at += 2 + usize::try_from(be16(bytes, at + 2)?.max(2)).ok()?,
        }
    }
}

fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => Some((le16(bytes, 26)? & 0x3fff, le16(bytes, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = le32(bytes, 21)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let three = |at| Some((le32(bytes, at)? & 0x00ff_ffff) + 1);
            // Both have three bytes; the one that is read beyond the second is there in any file.
            Some((three(24)?, three(27)?))
        }
        _ => None,
    }
}

fn bmp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if le32(bytes, 14)? == 12 {
        return le16(bytes, 18).zip(le16(bytes, 20));
    }
    // A height below zero says that the first line is on top.
    let side = |at| Some(le32(bytes, at)?.cast_signed().unsigned_abs());
    side(18).zip(side(22))
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(|it| u16::from_be_bytes(it).into())
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(u32::from_be_bytes)
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(|it| u16::from_le_bytes(it).into())
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat};
    use proptest::prelude::*;

    use super::*;

    /// A picture of this size, written by a library that knows nothing of this module.
    fn written(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = DynamicImage::new_rgb8(width, height);
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn size(bytes: &[u8]) -> Option<(u32, u32)> {
        Picture::of(bytes).and_then(|picture| picture.size)
    }

    #[test]
    fn kind_and_size_of_real_pictures_are_known() {
        for (format, kind) in [
            (ImageFormat::Jpeg, Kind::Jpeg),
            (ImageFormat::Png, Kind::Png),
            (ImageFormat::Gif, Kind::Gif),
            (ImageFormat::WebP, Kind::Webp),
        ] {
            for (width, height) in [(1, 1), (17, 301), (640, 480)] {
                let bytes = written(format, width, height);
                let found = Picture::of(&bytes).unwrap();
                assert_eq!(found.kind, kind);
                assert_eq!(found.size, Some((width, height)), "{format:?}");
                assert!(!found.is_progressive);
                assert_eq!(Kind::of(kind.media_type()), Some(kind));
            }
        }
    }

    #[test]
    fn sizes_of_other_headers_are_read() {
        let mut lossy = b"RIFF....WEBPVP8 ....\x00\x00\x00\x9d\x01\x2a".to_vec();
        lossy.extend([0x80, 0x42, 0xe0, 0x81]);
        assert_eq!(size(&lossy), Some((0x280, 0x1e0)), "scaling bits are none");
        let mut extended = b"RIFF....WEBPVP8X\x0a\0\0\0\0\0\0\0".to_vec();
        extended.extend([0x7f, 2, 0, 0xdf, 1, 0, 0]);
        assert_eq!(size(&extended), Some((640, 480)));
        let mut bmp = b"BM............".to_vec();
        bmp.extend([40, 0, 0, 0, 0x80, 2, 0, 0, 0x20, 0xfe, 0xff, 0xff]);
        assert_eq!(size(&bmp), Some((640, 480)), "from the top");
        let mut old = b"BM............".to_vec();
        old.extend([12, 0, 0, 0, 0x80, 2, 0xe0, 1]);
        assert_eq!(size(&old), Some((640, 480)));
    }

    #[test]
    fn a_jpeg_may_say_much_before_its_size() {
        let plain = written(ImageFormat::Jpeg, 640, 480);
        let mut long = plain[..2].to_vec();
        for length in [2_u16, 20_000, 40_000] {
            long.extend([0xff, 0xff, 0xe1]);
            long.extend(length.to_be_bytes());
            long.extend(vec![0xff; usize::from(length) - 2]);
        }
        long.extend(&plain[2..]);
        assert_eq!(size(&long), Some((640, 480)));
        let beyond = Picture::of(&long[..50_000]).unwrap();
        assert_eq!(beyond.size, None);
        assert!(
            beyond.is_progressive,
            "what is unknown counts as what costs most"
        );
    }

    #[test]
    fn what_is_no_picture_is_none_whatever_it_is_called() {
        for bytes in [
            &b""[..],
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            b"<html>",
            b"BMW is no picture of one",
            b"GIF90a",
            b"\x89PNG",
            b"RIFF....WAVEfmt ",
            b"OggS",
            b"%PDF-1.7",
        ] {
            assert_eq!(Picture::of(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            start in prop::sample::select(vec![
                &b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBPVP8L",
                b"RIFF....WEBPVP8X", b"BM", b"",
            ]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, &rest].concat();
            for end in 0..bytes.len() {
                let _any = Picture::of(&bytes[..end]);
            }
        }
    }
}
