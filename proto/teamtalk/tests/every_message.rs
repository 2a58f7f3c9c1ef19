//! Laws that hold for every message of the protocol, on bodies made from the generated table.

use bytes::{BufMut, Bytes, BytesMut};
use im_proto_teamtalk::{
    DecodeError, FieldKind, FieldRule, Label, MessageKind, MessageRule, Violation, validate,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::encoding::{WireType, encode_key, encode_varint};

/// An encoded field, by its place in the rule.
type Field = (usize, Vec<u8>);

fn any_kind() -> impl Strategy<Value = MessageKind> {
    prop::sample::select(MessageKind::ALL.to_vec())
}

fn key(number: u32, wire: WireType) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, wire, &mut out);
    out
}

fn number(field: u32, value: u64) -> Vec<u8> {
    let mut out = key(field, WireType::Varint);
    encode_varint(value, &mut out);
    out
}

fn chunk(field: u32, content: &[u8]) -> Vec<u8> {
    let mut out = key(field, WireType::LengthDelimited);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn any_occurrence(field: &'static FieldRule) -> BoxedStrategy<Vec<u8>> {
    let id = field.number;
    match field.kind {
        FieldKind::Number => any::<u32>().prop_map(move |n| number(id, n.into())).boxed(),
        FieldKind::Enum(declared) => {
            let values: Vec<u64> = (0..64).filter(|n| declared >> n & 1 == 1).collect();
            prop::sample::select(values)
                .prop_map(move |n| number(id, n))
                .boxed()
        }
        FieldKind::Text => ".{0,12}"
            .prop_map(move |text| chunk(id, text.as_bytes()))
            .boxed(),
        FieldKind::Bytes => vec(any::<u8>(), 0..40)
            .prop_map(move |b| chunk(id, &b))
            .boxed(),
        FieldKind::Message(rule) => any_body(rule)
            .prop_map(move |fields| chunk(id, &joined(&fields)))
            .boxed(),
    }
}

/// A good body: fields ascending, required ones once, numbers in their shortest form.
fn any_body(rule: &'static MessageRule) -> BoxedStrategy<Vec<Field>> {
    let fields: Vec<_> = rule
        .fields
        .iter()
        .enumerate()
        .map(|(place, field)| {
            let count = match field.label {
                Label::Required => 1..=1,
                Label::Optional => 0..=1,
                Label::Repeated => 0..=3,
            };
            vec(
                any_occurrence(field).prop_map(move |bytes| (place, bytes)),
                count,
            )
        })
        .collect();
    fields.prop_map(|fields| fields.concat()).boxed()
}

fn any_message() -> impl Strategy<Value = (MessageKind, Vec<Field>)> {
    any_kind().prop_flat_map(|kind| any_body(kind.rule()).prop_map(move |fields| (kind, fields)))
}

fn joined(fields: &[Field]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(_, bytes)| bytes.iter().copied())
        .collect()
}

/// What prost finds wrong with a body that the check accepts.
fn is_known_difference(error: &DecodeError) -> bool {
    let DecodeError::Prost(error) = error else {
        return false;
    };
    let text = error.to_string();
    text.contains("UTF-8") || text.contains("wire type")
}

#[test]
fn the_table_is_complete_and_sorted() {
    assert_eq!(MessageKind::ALL.len(), 110);
    let fields: usize = MessageKind::ALL
        .iter()
        .map(|kind| kind.rule().fields.len())
        .sum();
    assert_eq!(fields, 391);
    for kind in MessageKind::ALL {
        let rule = kind.rule();
        assert!(rule.name.starts_with("IM."), "{}", rule.name);
        assert!(
            rule.fields.is_sorted_by(|a, b| a.number < b.number),
            "{}",
            rule.name
        );
        for (place, field) in rule.fields.iter().enumerate() {
            let required = rule.required >> place & 1 == 1;
            assert_eq!(
                required,
                field.label == Label::Required,
                "{} {}",
                rule.name,
                field.name
            );
            assert_eq!(
                rule.field(field.number).map(|(place, _)| place),
                Some(place)
            );
        }
        assert!(
            rule.field(0).is_none() && rule.field(19).is_none() && rule.field(u32::MAX).is_none()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn good_bodies_decode_and_encode_to_identical_bytes((kind, fields) in any_message()) {
        let body = joined(&fields);
        prop_assert_eq!(validate(kind, &body), Ok(()));
        prop_assert_eq!(kind.canonical(Bytes::copy_from_slice(&body)), Ok(body));
    }

    #[test]
    fn a_body_without_one_of_its_fields_is_accepted_unless_the_field_is_required(
        (kind, fields) in any_message(),
        chosen in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!fields.is_empty());
        let mut fields = fields;
        let (place, _) = fields.remove(chosen.index(fields.len()));
        let rule = kind.rule();
        let expected = match rule.fields[place].label {
            Label::Required => {
                Err(Violation::Missing { message: rule.name, field: rule.fields[place].name })
            }
            Label::Optional | Label::Repeated => Ok(()),
        };
        prop_assert_eq!(validate(kind, &joined(&fields)), expected);
    }

    #[test]
    fn the_order_of_fields_does_not_matter(
        ((kind, sorted), fields) in any_message()
            .prop_flat_map(|(kind, fields)| (Just((kind, fields.clone())), Just(fields).prop_shuffle())),
    ) {
        // Lists keep their order, everything else its value: stable sorting undoes the shuffle
        // of all but the lists.
        let mut back = fields.clone();
        back.sort_by_key(|(place, _)| *place);
        let canonical = kind.canonical(joined(&fields).into());
        prop_assert_eq!(canonical, Ok(joined(&back)));
        prop_assert_eq!(sorted.len(), fields.len());
    }

    #[test]
    fn cut_bodies_are_refused_or_still_complete((kind, fields) in any_message(), at in any::<prop::sample::Index>()) {
        let body = joined(&fields);
        prop_assume!(!body.is_empty());
        let cut = Bytes::copy_from_slice(&body[..at.index(body.len())]);
        match validate(kind, &cut) {
            Ok(()) => prop_assert_eq!(kind.canonical(cut.clone()), Ok(cut.to_vec())),
            Err(violation) => {
                let expected = matches!(violation, Violation::Truncated | Violation::Missing { .. });
                prop_assert!(expected, "{violation}");
                prop_assert_eq!(kind.canonical(cut), Err(DecodeError::Violation(violation)));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_slip_through(kind in any_kind(), bytes in vec(any::<u8>(), 0..64)) {
        judge(kind, bytes.into())?;
    }

    #[test]
    fn damaged_bodies_never_panic_and_never_slip_through(
        (kind, fields) in any_message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = BytesMut::from(joined(&fields).as_slice());
        if body.is_empty() {
            body.put_u8(byte);
        } else {
            let at = at.index(body.len());
            body[at] = byte;
        }
        judge(kind, body.freeze())?;
    }
}

/// The check and prost agree on any bytes, except where the documentation says otherwise.
fn judge(kind: MessageKind, body: Bytes) -> Result<(), TestCaseError> {
    match (validate(kind, &body), kind.canonical(body)) {
        (Ok(()), Ok(canonical)) => {
            prop_assert_eq!(validate(kind, &canonical), Ok(()));
        }
        (Ok(()), Err(error)) => prop_assert!(is_known_difference(&error), "{error:?}"),
        (Err(violation), refused) => {
            prop_assert_eq!(refused, Err(DecodeError::Violation(violation)));
        }
    }
    Ok(())
}
