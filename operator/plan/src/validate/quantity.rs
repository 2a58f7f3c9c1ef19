//! Amounts of resources.

/// An amount in thousandths of a unit, to compare it; `None` when it is none.
pub(super) fn parse(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit: i128 = match suffix {
        "n" | "u" | "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 10_i128.pow(12),
        "T" => 10_i128.pow(15),
        "P" => 10_i128.pow(18),
        "E" => 10_i128.pow(21),
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        "Ei" => 1_000 << 60,
        _ => return None,
    };
    // Below a thousandth the rest does not matter for a comparison.
    let divisor = match suffix {
        "n" => 1_000_000,
        "u" => 1_000,
        _ => 1,
    };
    let digits = format!("{whole}{fraction}");
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.parse::<i128>().ok()?.checked_mul(unit)? / divisor / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_across_units() {
        let order = ["0", "1m", "0.5", "1", "1k", "1Ki", "1.5Mi", "1G", "1Gi"];
        for pair in order.windows(2) {
            assert!(parse(pair[0]) < parse(pair[1]), "{pair:?}");
        }
        assert_eq!(parse("1000m"), parse("1"));
        assert_eq!(parse("0.5Gi"), parse("512Mi"));
        for bad in ["", "x", "1Q", "1..2", "-1", "1 Gi"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
