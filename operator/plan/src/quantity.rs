//! Amounts of resources as Kubernetes writes them: `250m`, `1.5Gi`, `2e3`.

/// Billionths of a unit: nothing finer is kept by the API server.
const UNIT: i128 = 1_000_000_000;

/// An amount of a resource; equal amounts are equal, however they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

impl Quantity {
    /// Reads an amount; `None` for what is none, and for negative ones.
    pub fn parse(text: &str) -> Option<Self> {
        billionths(text).map(Self)
    }
}

fn billionths(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let factor = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => UNIT,
        "k" => UNIT * 1_000,
        "M" => UNIT * 1_000_000,
        "G" => UNIT * 1_000_000_000,
        "T" => UNIT * 10_i128.pow(12),
        "P" => UNIT * 10_i128.pow(15),
        "E" => UNIT * 10_i128.pow(18),
        "Ki" => UNIT << 10,
        "Mi" => UNIT << 20,
        "Gi" => UNIT << 30,
        "Ti" => UNIT << 40,
        "Pi" => UNIT << 50,
        "Ei" => UNIT << 60,
        exponent => power(exponent.strip_prefix(['e', 'E'])?)?,
    };
    let amount = digits.checked_mul(factor)?;
    // What is finer than can be kept is rounded up, as the API server does.
    Some(amount / scale + i128::from(amount % scale != 0))
}

/// Billionths in ten to the power that is written.
fn power(exponent: &str) -> Option<i128> {
    let exponent: i32 = exponent.parse().ok()?;
    10_i128.checked_pow(u32::try_from(exponent.checked_add(9)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn amounts_are_compared_across_units() {
        let order = [
            "0", "1n", "2n", "1u", "1m", "0.5", "1", "1k", "1Ki", "1e4", "1M", "1.5Mi", "1G",
            "1Gi", "1E", "1Ei",
        ];
        for pair in order.windows(2) {
            assert!(amount(pair[0]) < amount(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn one_amount_written_in_two_ways_is_equal() {
        for (left, right) in [
            ("1000m", "1"),
            ("0.5Gi", "512Mi"),
            ("1e3", "1k"),
            ("2E3", "2k"),
            ("100e-3", "100m"),
            (".5", "500m"),
            ("1.", "1"),
            ("0.1n", "1n"),
        ] {
            assert_eq!(amount(left), amount(right), "{left} {right}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for bad in [
            "", ".", "x", "1Q", "1..2", "-1", "1 Gi", "1e", "1e1.5", "1e99", "1e-10",
        ] {
            assert_eq!(Quantity::parse(bad), None, "{bad}");
        }
    }
}
