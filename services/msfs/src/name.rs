//! Names of pictures in URLs.
//!
//! `g0/DDD/DDD/HEX` and an ending: the depth of the original, the blob's 128 random bits, and what the
//! uploader's name has to say to clients, `_WIDTHxHEIGHT` and the extension. The two numbers follow from the
//! blob's first bytes. Nothing else is a name, so a path leads nowhere else.

use std::fmt;

use im_blob::BlobName;

/// Sides of the squares into which pictures are scaled: those that clients ask for.
pub(crate) const SIDES: [u32; 4] = [32, 100, 200, 310];

/// Longest name of an uploaded file, bytes.
const MAX_FILE_NAME: usize = 255;

/// Longest extension, bytes.
const MAX_EXTENSION: usize = 15;

/// Most digits of a width or a height in a name.
const MAX_DIGITS: usize = 4;

/// What a name ends with: `.jpg`, `_640x480.jpg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending(String);

/// A name that cannot be one of an uploaded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFileName {
    /// More than 255 bytes.
    TooLong,
    /// No extension.
    NoExtension,
    /// An extension of more than 15 bytes, or of others than letters and digits.
    Extension,
}

impl Ending {
    /// The ending for an uploaded file of this name, in whatever encoding.
    pub(crate) fn of_file(name: &[u8]) -> Result<Self, BadFileName> {
        if name.len() > MAX_FILE_NAME {
            return Err(BadFileName::TooLong);
        }
        let dot = name.iter().rposition(|byte| *byte == b'.');
        let (stem, extension) = dot
            .and_then(|dot| name.split_at_checked(dot))
            .and_then(|(stem, rest)| Some((stem, rest.split_first()?.1)))
            .filter(|(_, extension)| !extension.is_empty())
            .ok_or(BadFileName::NoExtension)?;
        let extension = std::str::from_utf8(extension)
            .ok()
            .filter(|text| is_extension(text))
            .ok_or(BadFileName::Extension)?;
        let size = dimensions(stem).map_or_else(String::new, |(w, h)| format!("_{w}x{h}"));
        Ok(Self(format!("{size}.{extension}")))
    }

    /// The ending for a file without a name, with this extension.
    pub(crate) fn of_kind(extension: &'static str) -> Self {
        Self(format!(".{extension}"))
    }

    /// The ending that this text is, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (size, extension) = text.split_once('.')?;
        let is_size = size.is_empty()
            || size
                .strip_prefix('_')
                .and_then(|size| size.split_once('x'))
                .is_some_and(|(w, h)| is_number(w) && is_number(h));
        (is_size && is_extension(extension)).then(|| Self(text.to_owned()))
    }

    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Width and height in a name that ends with `_<width>x<height>`.
fn dimensions(stem: &[u8]) -> Option<(&str, &str)> {
    let at = stem.iter().rposition(|byte| *byte == b'_')?;
    let text = std::str::from_utf8(stem.get(at + 1..)?).ok()?;
    let (width, height) = text.split_once('x')?;
    (is_number(width) && is_number(height)).then_some((width, height))
}

fn is_number(text: &str) -> bool {
    (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_extension(text: &str) -> bool {
    (1..=MAX_EXTENSION).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_alphanumeric())
}

/// The name of a picture, displayed as the path below the base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Where it is stored.
    pub(crate) blob: BlobName,
    /// What the name ends with.
    pub(crate) ending: Ending,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.blob.as_bytes();
        let Ending(ending) = &self.ending;
        write!(f, "g0/{first:03}/{second:03}/{}{ending}", self.blob)
    }
}

/// What the path of a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The picture.
    pub(crate) name: Name,
    /// The side of the square into which it is to be scaled.
    pub(crate) side: Option<u32>,
}

impl Asked {
    /// Reads the path of a URL, whatever stands before its last four segments: a base URL may have a path.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut segments = path.rsplit('/');
        let (file, second) = (segments.next()?, segments.next()?);
        let (first, group) = (segments.next()?, segments.next()?);
        let (digits, rest) = file.split_at_checked(32)?;
        let blob: BlobName = digits.parse().ok()?;
        let (ending, side) = match of_variant(rest) {
            Some((ending, side)) => (ending, Some(side)),
            None => (rest, None),
        };
        let name = Name {
            blob,
            ending: Ending::parse(ending)?,
        };
        let [is_first, is_second, ..] = blob.as_bytes();
        let is_group = group
            .strip_prefix('g')
            .is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()));
        let is_folder = first == format!("{is_first:03}") && second == format!("{is_second:03}");
        (is_group && is_folder).then_some(Self { name, side })
    }
}

/// What clients append to the URL of a picture: `_100x100.jpg`.
fn of_variant(rest: &str) -> Option<(&str, u32)> {
    let (ending, size) = rest.strip_suffix(".jpg")?.rsplit_once('_')?;
    let side = SIDES
        .into_iter()
        .find(|side| size == format!("{side}x{side}"))?;
    // `_100x100.jpg` alone is the ending of a picture.
    ending.contains('.').then_some((ending, side))
}

/// Where the picture scaled into a square of this side is stored. Whoever does not know the name of the
/// picture cannot tell this one either.
pub(crate) fn variant(blob: BlobName, side: u32) -> BlobName {
    let mut hash = blake3::Hasher::new_derive_key("imcluster msfs 1 scaled picture");
    hash.update(blob.as_bytes());
    hash.update(&side.to_be_bytes());
    let mut bytes = [0; 16];
    hash.finalize_xof().fill(&mut bytes);
    BlobName::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "07ff0203040506070809aabbccddeeff";

    fn ending(name: &str) -> Result<String, BadFileName> {
        Ending::of_file(name.as_bytes()).map(|Ending(text)| text)
    }

    fn asked(path: &str) -> Option<(String, Option<u32>)> {
        Asked::parse(path).map(|asked| (asked.name.to_string(), asked.side))
    }

    #[test]
    fn a_name_ends_with_what_the_uploaded_one_says_of_size_and_kind() {
        for (name, expected) in [
            ("a.jpg", ".jpg"),
            ("a.tar.JPEG", ".JPEG"),
            ("c:\\pictures\\a_640x480.png", "_640x480.png"),
            ("a_b_1x9999.gif", "_1x9999.gif"),
            // What is no size is none.
            ("a_box.png", ".png"),
            ("a_10x.png", ".png"),
            ("a_12345x1.png", ".png"),
            ("a_1x1x1.png", ".png"),
            ("640x480.png", ".png"),
            ("1.audio", ".audio"),
        ] {
            assert_eq!(ending(name), Ok(expected.to_owned()), "{name}");
        }
        // Of a Chinese Windows.
        let gbk = Ending::of_file(b"\xcd\xbc\xc6\xac_10x20.jpg").unwrap();
        assert_eq!(gbk.as_str(), "_10x20.jpg");
    }

    #[test]
    fn a_name_without_a_plain_extension_is_refused() {
        for name in ["", "a", "a.", "."] {
            assert_eq!(ending(name), Err(BadFileName::NoExtension), "{name}");
        }
        let long = format!("a.{}", "b".repeat(16));
        for name in ["a.j/g", "a.j g", "a.%2e", "a.\u{e9}", "a.b\\c", &long] {
            assert_eq!(ending(name), Err(BadFileName::Extension), "{name}");
        }
        assert!(ending(&format!("a.{}", "b".repeat(15))).is_ok());
        let longest = format!("{}.jpg", "a".repeat(251));
        assert!(ending(&longest).is_ok());
        assert_eq!(ending(&format!("a{longest}")), Err(BadFileName::TooLong));
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for text in [".jpg", "_640x480.png", "_100x100.jpg", ".audio"] {
            let name = Name {
                blob: HEX.parse().unwrap(),
                ending: Ending::parse(text).unwrap(),
            };
            let path = name.to_string();
            assert_eq!(path, format!("g0/007/255/{HEX}{text}"));
            for before in ["/", "//", "/pictures/of/ours/"] {
                let found = Asked::parse(&format!("{before}{path}")).unwrap();
                assert_eq!(
                    found,
                    Asked {
                        name: name.clone(),
                        side: None
                    }
                );
            }
        }
        let other_group = asked(&format!("/g12/007/255/{HEX}.jpg"));
        assert_eq!(other_group, Some((format!("g0/007/255/{HEX}.jpg"), None)));
    }

    #[test]
    fn only_the_sizes_that_clients_ask_for_are_variants() {
        let path = format!("g0/007/255/{HEX}.png");
        for side in SIDES {
            let found = asked(&format!("/{path}_{side}x{side}.jpg"));
            assert_eq!(found, Some((path.clone(), Some(side))));
        }
        let sized = format!("g0/007/255/{HEX}_640x480.png");
        let found = asked(&format!("/{sized}_100x100.jpg"));
        assert_eq!(found, Some((sized, Some(100))));
        for other in [
            "_101x101.jpg",
            "_100x200.jpg",
            "_0x0.jpg",
            "_0100x0100.jpg",
            "_100x100.png",
            "_100x100.JPG",
            "_100x100.jpg_100x100.jpg",
            "_9999x9999.jpg",
        ] {
            assert_eq!(asked(&format!("/{path}{other}")), None, "{other}");
        }
    }

    #[test]
    fn no_other_path_is_a_name() {
        let upper = HEX.to_uppercase();
        for path in [
            String::new(),
            "/".to_owned(),
            "/g0/007/255/".to_owned(),
            format!("/{HEX}.jpg"),
            format!("/g0/007/{HEX}.jpg"),
            format!("/g/007/255/{HEX}.jpg"),
            format!("/x0/007/255/{HEX}.jpg"),
            format!("/g0/000/255/{HEX}.jpg"),
            format!("/g0/7/255/{HEX}.jpg"),
            format!("/g0/007/255/{upper}.jpg"),
            format!("/g0/007/255/{HEX}"),
            format!("/g0/007/255/{HEX}."),
            format!("/g0/007/255/{HEX}.jpg/"),
            format!("/g0/007/255/{HEX}.jp/g"),
            format!("/g0/007/255/{HEX}_1x.jpg"),
            format!("/g0/007/255/{HEX}a.jpg"),
            format!("/g0/007/../255/{HEX}.jpg"),
            "/g0/../../etc/passwd".to_owned(),
            "/g0/000/000/../../../../etc/passwd.jpg".to_owned(),
            format!("/g0%2f007%2f255%2f{HEX}.jpg"),
        ] {
            assert_eq!(asked(&path), None, "{path}");
        }
    }

    #[test]
    fn every_size_of_every_picture_is_stored_apart() {
        let one = HEX.parse().unwrap();
        let other = "17ff0203040506070809aabbccddeeff".parse().unwrap();
        let mut seen = vec![one, other];
        for blob in [one, other] {
            for side in SIDES {
                let name = variant(blob, side);
                assert_eq!(name, variant(blob, side));
                assert!(!seen.contains(&name));
                seen.push(name);
            }
        }
    }
}
