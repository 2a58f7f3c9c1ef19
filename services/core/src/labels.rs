//! Names of values as labels of metrics.

/// The name of an enum's value as logs and metrics spell it: `TooLong` is `too_long`.
pub fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (place, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && place != 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Defines an enum without fields whose values are those of a metric's label, in the spelling of
/// [`labels::snake_case`], with a list of all of them, `ALL`: the series of a closed set are shown from the
/// start, so that their first count is an increase. Used by crates that have `prometheus-client`, which this
/// one does not.
///
/// [`labels::snake_case`]: crate::labels::snake_case
#[macro_export]
macro_rules! label_values {
    (
        $(#[$of_enum:meta])*
        $vis:vis enum $label:ident {
            $($(#[$of_value:meta])* $value:ident $(= $number:literal)?),+ $(,)?
        }
    ) => {
        $(#[$of_enum])*
        $vis enum $label {
            $($(#[$of_value])* $value $(= $number)?),+
        }

        impl $label {
            /// All values.
            $vis const ALL: &'static [Self] = &[$(Self::$value),+];
        }

        impl ::prometheus_client::encoding::EncodeLabelValue for $label {
            fn encode(
                &self,
                encoder: &mut ::prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> ::std::fmt::Result {
                let name = $crate::labels::snake_case(&format!("{self:?}"));
                ::std::fmt::Write::write_str(encoder, &name)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_name_begins_with_a_capital_letter() {
        assert_eq!(snake_case("Up"), "up");
        assert_eq!(snake_case("DbProxyAttach"), "db_proxy_attach");
        assert_eq!(snake_case("ById"), "by_id");
    }
}
