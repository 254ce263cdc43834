//! Suggests existing names that are similar to a name that does not exist. A suggestion never replaces the requested name.

/// The minimum similarity of two names, from 0 to 1.
const ALIKE: f64 = 0.7;

/// Returns the names most similar to `asked`, most similar first.
pub fn near<'a>(asked: &str, names: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let asked = asked.to_lowercase();
    let mut found: Vec<(f64, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let last = lower.rsplit('/').next().unwrap_or(&lower);
            let alike = strsim::normalized_damerau_levenshtein(&asked, &lower)
                .max(strsim::normalized_damerau_levenshtein(&asked, last) * 0.95);
            // A part of a name also matches. If only two letters were typed, only the start of a name matches.
            let part = asked.len() >= 3 && lower.contains(&asked) || asked.len() == 2 && lower.starts_with(&asked);
            let slip = asked.len() >= 3 && strsim::damerau_levenshtein(&asked, &lower) == 1;
            let alike = if part || slip { alike.max(ALIKE) } else { alike };
            (alike >= ALIKE).then_some((alike, name))
        })
        .collect();
    found.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    found.into_iter().take(most).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_parts_are_near_and_the_nearest_is_first() {
        let names = ["main", "release/2.0", "release/2.1", "feature/login-form", "fix"];
        let check = |asked: &str, expect: &[&str]| assert_eq!(near(asked, names, 2), expect, "{asked}");
        check("mian", &["main"]);
        check("Main", &["main"]);
        check("fxi", &["fix"]);
        check("fx", &[]);
        check("fi", &["fix"]);
        check("i", &[]);
        check("realease/2.1", &["release/2.1", "release/2.0"]);
        check("login-form", &["feature/login-form"]);
        check("login", &["feature/login-form"]);
        check("something-else", &[]);
        check("", &[]);
    }
}
