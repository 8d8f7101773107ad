//! Kubernetes quantities: `2Gi`, `500M`, `1073741824`.

/// How many bytes a quantity is.
pub(crate) fn bytes(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 12] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("m", 1e-3),
        ("", 1.0),
    ];
    let text = text.trim();
    UNITS.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number * factor)
    })
}

/// The quantity in MiB.
pub(crate) fn mib(text: &str) -> Option<f64> {
    bytes(text).map(|bytes| bytes / 1_048_576.0)
}

/// The quantity in GiB.
pub(crate) fn gib(text: &str) -> Option<f64> {
    bytes(text).map(|bytes| bytes / 1_073_741_824.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!(mib("2Gi"), Some(2048.0));
        assert_eq!(mib("64Mi"), Some(64.0));
        assert_eq!(gib("1Ti"), Some(1024.0));
        assert_eq!(bytes("500M"), Some(5e8));
        assert_eq!(bytes("1e3"), Some(1000.0));
        assert_eq!(bytes("x"), None);
        assert_eq!(bytes(""), None);
    }
}
