//! What text may be shown to people, and how untrusted text enters an error message.
//!
//! It does not judge meaning: it only keeps text from hiding or overwriting other text.

/// Longest piece of untrusted text that an error message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Whether `c` draws nothing, moves the cursor or changes the order of its neighbours, so that
/// what a person reads would differ from what is signed. Newline and tab are not counted.
pub(crate) fn is_hidden(c: char) -> bool {
    if matches!(c, '\n' | '\t') {
        return false;
    }
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` escaped and cut for use in an error message or a field path.
pub(crate) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars
        .by_ref()
        .take(SHOWN_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_known_and_ordinary_ones_are_not() {
        for c in [
            '\u{0}', '\r', '\u{1b}', '\u{7f}', '\u{202e}', '\u{2066}', '\u{200b}',
        ] {
            assert!(is_hidden(c), "{c:?}");
        }
        for c in ['\n', '\t', 'a', 'é', '字', ' '] {
            assert!(!is_hidden(c), "{c:?}");
        }
    }

    #[test]
    fn shown_text_is_escaped_and_cut() {
        assert_eq!(shown("a\u{1b}b"), "a\\u{1b}b");
        assert_eq!(shown(&"x".repeat(70)), format!("{}…", "x".repeat(64)));
    }
}
