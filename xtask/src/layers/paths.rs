//! The paths under one crate that a source text uses.
//!
//! Not a parser of Rust: it reads `krate::a::b` and use trees such as `krate::{a, b::{c, d}}`
//! outside line comments. A macro could hide a use from it; reviewers are expected to notice one.

/// The paths under `krate` in `source`, without the crate's name; `self` for the crate itself
/// under another name, which would hide every later use.
pub fn used(source: &str, krate: &str) -> Vec<String> {
    let lines = source.lines().map(|line| match line.split_once("//") {
        Some((code, _)) => code,
        None => line,
    });
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(krate) {
        let (before, rest) = code.split_at(at);
        let after = rest.split_at(krate.len()).1;
        if before.ends_with(is_word) || after.starts_with(is_word) {
            continue;
        }
        match after.strip_prefix("::") {
            Some(tree) => {
                expand("", tree, &mut paths);
            }
            None => paths.push("self".to_owned()),
        }
    }
    paths
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Adds the paths of the tree at the beginning of `text`; returns what follows the tree.
fn expand<'a>(prefix: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    let end = text.find(|c: char| !is_word(c) && c != ':' && c != '*');
    let (path, mut rest) = text.split_at(end.unwrap_or(text.len()));
    let Some(inner) = rest.strip_prefix('{') else {
        paths.push(joined(prefix, path));
        // What the name is called afterwards does not change what it is.
        return rest
            .find([',', '}', ';'])
            .map_or("", |at| rest.split_at(at).1);
    };
    let prefix = format!("{prefix}{path}");
    rest = inner.trim_start();
    while !rest.is_empty() && !rest.starts_with(['}', ';']) {
        rest = expand(&prefix, rest, paths).trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    rest.strip_prefix('}').unwrap_or(rest)
}

/// `a::self` is `a`; the crate's own `self` stays.
fn joined(prefix: &str, path: &str) -> String {
    match prefix.strip_suffix("::") {
        Some(parent) if path == "self" => parent.to_owned(),
        _ => format!("{prefix}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_trees_are_taken_apart() {
        let source = "use k::{a::{self, b as c, d::*}, e}; fn f(x: k::g::H<k::i>) {}";
        assert_eq!(
            used(source, "k"),
            ["a", "a::b", "a::d::*", "e", "g::H", "i"]
        );
    }

    #[test]
    fn another_name_for_the_crate_counts_as_the_crate() {
        assert_eq!(used("use k as other;", "k"), ["self"]);
        assert_eq!(used("use k::{self as other};", "k"), ["self"]);
    }

    #[test]
    fn comments_and_longer_names_do_not_count() {
        assert_eq!(used("// k::a\nkk::a; k_k::a; ak::b", "k"), [""; 0]);
    }

    #[test]
    fn an_unfinished_tree_ends() {
        for source in [
            "use k::{a, {",
            "use k::{",
            "use k::{{}}",
            "use k::",
            "k::{,,}",
        ] {
            used(source, "k");
        }
    }
}
