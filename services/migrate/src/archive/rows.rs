//! Rows as bytes.

use im_store::{ColumnKind, Section, Value};

/// Why bytes are no rows.
pub(crate) type Odd = &'static str;

pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a number off the beginning.
pub(crate) fn take_number(from: &mut &[u8]) -> Result<u64, Odd> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = from.split_first().ok_or("a number is cut off")?;
        *from = rest;
        let bits = u64::from(first & 0x7f);
        if shift == 63 && bits > 1 {
            return Err("a number is too large");
        }
        number |= bits << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number is too long")
}

/// Adds a row, whose fields fit the section.
pub(crate) fn put_row(out: &mut Vec<u8>, section: &Section, row: &[Value]) {
    for (column, value) in section.columns.iter().zip(row) {
        if column.is_optional {
            out.push(u8::from(*value != Value::Null));
        }
        match value {
            Value::Null => {}
            Value::Number(number) => put_number(out, *number),
            Value::Bytes(bytes) => {
                put_number(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// Takes a row off the beginning.
pub(crate) fn take_row(from: &mut &[u8], section: &Section) -> Result<Vec<Value>, Odd> {
    let mut row = Vec::with_capacity(section.columns.len());
    for column in section.columns {
        if column.is_optional {
            let (first, rest) = from.split_first().ok_or("a row is cut off")?;
            *from = rest;
            match first {
                0 => {
                    row.push(Value::Null);
                    continue;
                }
                1 => {}
                _ => return Err("a field is neither there nor missing"),
            }
        }
        let number = take_number(from)?;
        if column.kind == ColumnKind::Number {
            row.push(Value::Number(number));
            continue;
        }
        let length = usize::try_from(number).map_err(|_| "a field is too long")?;
        let bytes = from.split_at_checked(length);
        let (bytes, rest) = bytes.ok_or("a field is cut off")?;
        *from = rest;
        row.push(Value::Bytes(bytes.to_vec()));
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for (number, length) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (300, 2),
            (u64::from(u32::MAX), 5),
            (u64::MAX, 10),
        ] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(bytes.len(), length);
            bytes.push(9);
            let mut rest = bytes.as_slice();
            assert_eq!(take_number(&mut rest), Ok(number));
            assert_eq!(rest, [9]);
        }
        for odd in [&[][..], &[0x80], &[0xff; 10], &[0x80; 11]] {
            take_number(&mut &*odd).unwrap_err();
        }
    }
}
