//! Names that were probably meant.

/// At most `most` of `names` that resemble `wrong`, the most alike first.
pub fn near<'a>(wrong: &str, names: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let alike = |(distance, name): &(usize, &str)| {
        *distance <= 1 + name.len() / 4 || name.starts_with(wrong) || wrong.starts_with(name)
    };
    let mut near: Vec<_> =
        names.map(|name| (strsim::damerau_levenshtein(wrong, name), name)).filter(alike).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(most).map(|(_, name)| name).collect()
}

/// A question to add to a message about a name that nobody knows.
pub fn did_you_mean(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        [names @ .., last] if !names.is_empty() => format!("; did you mean {} or {last}?", names.join(", ")),
        [name, ..] => format!("; did you mean {name}?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_come_first_and_strangers_not_at_all() {
        let names = ["laptop-2", "laptop", "desktop", "printer", "laptop"];
        let near = near("laptpo", names.into_iter(), 3);
        assert_eq!(near, ["laptop", "laptop-2"]);
        assert_eq!(did_you_mean(&near), "; did you mean laptop or laptop-2?");
        assert_eq!(did_you_mean(&near[..1]), "; did you mean laptop?");
        assert_eq!(did_you_mean(&[]), "");
    }
}
