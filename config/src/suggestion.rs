//! The nearest valid name to a misspelt one.

/// The most similar of `names`, if one is similar enough to have been meant (Jaro-Winkler similarity of at least
/// 0.75, case ignored); of equals the first.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in names {
        let similarity = strsim::jaro_winkler(&name, &candidate.to_lowercase());
        if similarity >= 0.75 && best.is_none_or(|(highest, _)| similarity > highest) {
            best = Some((similarity, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The end of a message: `; did you mean `x`?`, or nothing.
pub(crate) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_similar_name_is_suggested() {
        let names = ["fit_every", "infer_every", "fit_window"];
        assert_eq!(nearest("infer_evry", names), Some("infer_every"));
        assert_eq!(nearest("fitWindow", names), Some("fit_window"));
        assert_eq!(nearest("zzz", names), None);
    }
}
