//! How figures are printed.

/// Three significant digits, whole numbers from a hundred on, and whole numbers as such.
pub fn short(value: f64) -> String {
    match value.abs() {
        _ if value.fract().abs() < 1e-9 => format!("{value:.0}"),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What figures are measured on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Number and model of its cores.
    pub cpu: String,
    /// Its kernel.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let model = model.map_or("unknown", |(_, name)| name.trim());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cpu: format!("{cores} × {model}"),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_need_to_be() {
        let shown = [0.0, 0.25, 12.345, 60.0, 123.4].map(short);
        assert_eq!(shown, ["0", "0.250", "12.3", "60", "123"]);
    }
}
