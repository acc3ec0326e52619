//! How deep a text of policies nests, told from its tokens before Cedar parses it.
//!
//! Cedar reads, validates, prints and evaluates expressions by recursion, and a text that nests too
//! deep ends the process instead of failing. One governor's proposal is such a text, so it is measured
//! here without recursion first. This is no parser: it may think a text deeper than it is, never
//! shallower, and what is not Cedar at all is left for Cedar to refuse.

use crate::check::CharterError;
use std::iter::Peekable;
use std::str::Chars;

/// The most brackets open at one time. People write three or four.
pub(crate) const BRACKETS_MAX: usize = 32;
/// The deepest expression that one policy may make: a chain of operators, as `a || b || c`, is as deep
/// as it is long. A quarter of what a thread of two MiB parses and validates without optimisation.
pub(crate) const DEPTH_MAX: usize = 256;

/// Refuses a text that is too deep for Cedar.
pub(crate) fn check(policies: &str) -> Result<(), CharterError> {
    let mut shape = Shape::default();
    let mut tokens = Tokens(policies.chars().peekable());
    while let Some(token) = tokens.next_token() {
        let problem = match token {
            Token::Unreadable => Some("has a text that does not end".to_owned()),
            token => shape.take(&token),
        };
        if let Some(problem) = problem {
            let detail = format!("policy {} of the text {problem}", shape.policy + 1);
            return Err(CharterError::PolicySyntax { detail });
        }
    }
    Ok(())
}

/// What a token does to the depth.
enum Token {
    Open,
    Close,
    /// `;`, which ends a policy.
    End,
    Comma,
    /// `if`, and `when` and `unless`, which Cedar joins: whatever comes after is inside.
    If,
    Or,
    And,
    /// Any other operator, before, between or behind its operands.
    Operator,
    /// No part of an expression's depth.
    Flat,
    Unreadable,
}

/// What stands between two brackets, or between a comma and the next.
#[derive(Default)]
struct Level {
    /// The deepest element before the last comma.
    before: usize,
    ifs: usize,
    ors: usize,
    /// The longest chain of `&&` between two `||`, and the one at hand.
    ands: (usize, usize),
    /// The longest chain of other operators between two of those, and the one at hand.
    others: (usize, usize),
    /// The deepest brackets.
    inside: usize,
}

impl Level {
    /// No less than the depth of the deepest element.
    fn depth(&self) -> usize {
        let own = self.ifs + self.ors + self.ands.0 + self.others.0;
        self.before.max(own + self.inside)
    }

    fn segment(&mut self) {
        self.others.1 = 0;
    }
}

fn longer(chain: &mut (usize, usize)) {
    chain.1 += 1;
    chain.0 = chain.0.max(chain.1);
}

#[derive(Default)]
struct Shape {
    policy: usize,
    here: Level,
    /// The levels around this one.
    around: Vec<Level>,
}

impl Shape {
    /// Takes a token; what is wrong with the text.
    fn take(&mut self, token: &Token) -> Option<String> {
        match token {
            Token::Open => {
                // Behind an operand it is one more step of a chain: `a["b"]["c"]`.
                longer(&mut self.here.others);
                self.around.push(std::mem::take(&mut self.here));
                if self.around.len() > BRACKETS_MAX {
                    return Some(format!("nests brackets more than {BRACKETS_MAX} deep"));
                }
            }
            Token::Close => {
                let inside = self.here.depth() + 1;
                // A bracket too many is Cedar's to refuse, and makes nothing deeper.
                if let Some(outer) = self.around.pop() {
                    self.here = outer;
                    self.here.inside = self.here.inside.max(inside);
                }
            }
            // Inside brackets it is an error that Cedar finds; what is open stays open.
            Token::End if self.around.is_empty() => {
                self.here = Level::default();
                self.policy += 1;
            }
            Token::Comma => {
                let before = self.here.depth();
                self.here = Level {
                    before,
                    ..Level::default()
                };
            }
            Token::If => {
                self.here.ifs += 1;
                self.here.ands.1 = 0;
                self.here.segment();
            }
            Token::Or => {
                self.here.ors += 1;
                self.here.ands.1 = 0;
                self.here.segment();
            }
            Token::And => {
                longer(&mut self.here.ands);
                self.here.segment();
            }
            Token::Operator => longer(&mut self.here.others),
            Token::End | Token::Flat | Token::Unreadable => {}
        }
        (self.here.depth() > DEPTH_MAX).then(|| {
            format!(
                "chains or nests operators more than {DEPTH_MAX} deep; write several policies, or \
                 `[...].contains(...)` for a list"
            )
        })
    }
}

/// The tokens of Cedar's grammar, as far as they matter here.
struct Tokens<'a>(Peekable<Chars<'a>>);

impl Tokens<'_> {
    fn next_token(&mut self) -> Option<Token> {
        let first = self.0.next()?;
        Some(match first {
            '"' => self.text(),
            '/' if self.follows('/') => {
                while self.0.next_if(|c| !matches!(c, '\n' | '\r')).is_some() {}
                Token::Flat
            }
            '(' | '[' | '{' => Token::Open,
            ')' | ']' | '}' => Token::Close,
            ';' => Token::End,
            ',' => Token::Comma,
            '|' if self.follows('|') => Token::Or,
            '&' if self.follows('&') => Token::And,
            '=' | '!' | '<' | '>' => {
                self.follows('=');
                Token::Operator
            }
            '.' | '+' | '-' | '*' | '/' | '%' => Token::Operator,
            '_' | 'a'..='z' | 'A'..='Z' => self.word(first),
            _ => Token::Flat,
        })
    }

    /// Takes the next character when it is this one.
    fn follows(&mut self, wanted: char) -> bool {
        self.0.next_if_eq(&wanted).is_some()
    }

    fn text(&mut self) -> Token {
        while let Some(c) = self.0.next() {
            match c {
                '"' => return Token::Flat,
                // Cedar's texts escape anything but the end of a line.
                '\\' if self.0.next().is_none_or(|c| c == '\n') => return Token::Unreadable,
                _ => {}
            }
        }
        Token::Unreadable
    }

    fn word(&mut self, first: char) -> Token {
        let mut word = String::from(first);
        while let Some(c) = self.0.next_if(|c| *c == '_' || c.is_ascii_alphanumeric()) {
            word.push(c);
        }
        match word.as_str() {
            "if" | "when" | "unless" => Token::If,
            "in" | "has" | "like" | "is" => Token::Operator,
            _ => Token::Flat,
        }
    }
}
