//! Policies that nest: what is allowed fits a small stack, what does not fit is refused unread.

use crate::fixtures::*;
use crate::shape::{BRACKETS_MAX, DEPTH_MAX};
use crate::{CharterError, Ledger};

/// What a thread of a test, and of the runtime that nodes run on, has.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Runs on a stack of that size, whatever the test runner gives.
fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(run).unwrap().join().unwrap()
}

fn policy(condition: &str) -> String {
    format!(
        "@id(\"deep\") permit (principal, action == Action::\"transfer\", resource) \
         when {{ {condition} }};"
    )
}

fn chain(part: &str, operator: &str, count: usize) -> String {
    vec![part; count].join(operator)
}

fn nested(open: &str, inner: &str, close: &str, count: usize) -> String {
    format!("{}{inner}{}", open.repeat(count), close.repeat(count))
}

fn checked(policies: String) -> Result<(), CharterError> {
    on_a_small_stack(move || charter(&policies).check().map(drop))
}

#[test]
fn refuses_what_would_end_the_process() {
    let amount = "context.amount_micro";
    for condition in [
        nested("(", "true", ")", 600),
        nested("!(", "true", ")", 600),
        nested("-(", "1", ")", 600),
        nested("[", "true", "]", 600),
        nested("{\"a\": ", "true", "}", 600),
        nested("context.contains(", "1", ")", 600),
        nested("if ", "true", " then true else true", 5_000),
        nested("if true then true else ", "true", "", 5_000),
        chain("true", " && ", 20_000),
        chain("true", " || ", 20_000),
        format!("{} < 1", chain(amount, " + ", 10_000)),
        format!("{} < 1", chain("1", " * ", 20_000)),
        format!("{} < 1", chain("1", " - ", 20_000)),
        format!("context{}", ".a".repeat(20_000)),
        format!("context{}", "[\"a\"]".repeat(20_000)),
        format!("context has a{}", ".a".repeat(20_000)),
        format!("{}true", "!".repeat(20_000)),
        // Brackets in comments and texts close nothing.
        nested("(// )\r", "true", ")", 600),
        nested("(\")\" == \"", "", "\")", 600),
        chain("(true)", " && ", 20_000),
    ] {
        let shown: String = condition.chars().take(40).collect();
        let error = checked(policy(&condition)).unwrap_err();
        let CharterError::PolicySyntax { detail } = &error else {
            panic!("{shown}: {error:?}");
        };
        assert!(detail.contains("more than"), "{shown}: {detail}");
    }
    let clauses = "when { true } ".repeat(20_000);
    let text = format!("@id(\"deep\") permit (principal, action, resource) {clauses};");
    assert!(
        matches!(checked(text), Err(CharterError::PolicySyntax { detail }) if detail.contains("more than"))
    );
    // What stays open is not forgotten at the end of a policy.
    let text = "@id(\"a\") permit (((((((((( ;".repeat(100);
    assert!(
        matches!(checked(text), Err(CharterError::PolicySyntax { detail }) if detail.contains("more than"))
    );
    let text = policy("context.to == \"");
    assert!(
        matches!(checked(text), Err(CharterError::PolicySyntax { detail }) if detail.contains("does not end"))
    );
}

/// The longest of a kind that is accepted, and that one more is not.
fn longest(make: impl Fn(usize) -> String) -> String {
    let fits = |count: &usize| crate::shape::check(&policy(&make(*count))).is_ok();
    let most = (1..=2 * DEPTH_MAX).rev().find(fits).unwrap();
    assert!((8..=DEPTH_MAX).contains(&most), "{most}");
    policy(&make(most))
}

#[test]
fn what_is_allowed_fits_a_small_stack_without_optimisation() {
    let amount = "context.amount_micro";
    // Every bracket with as many operators beside it as fit.
    let each = DEPTH_MAX / BRACKETS_MAX - 3;
    let mixed = |count: usize| {
        let step = format!("{} && !(", chain("principal == principal", " || ", each));
        nested(&step, "true", ")", count)
    };
    let valid = [
        longest(|n| chain("principal in Role::\"desk\"", " && ", n)),
        longest(|n| chain("principal in Role::\"desk\"", " || ", n)),
        longest(|n| format!("{} < 1000000000000000", chain(amount, " + ", n))),
        longest(|n| nested("(", "principal in Role::\"desk\"", ")", n)),
        longest(|n| nested("!(", "principal in Role::\"desk\"", ")", n - n % 2)),
        longest(|n| {
            nested(
                "if principal in Role::\"desk\" then ",
                "true",
                " else false",
                n,
            )
        }),
    ];
    let unread = [
        longest(mixed),
        longest(|n| format!("context{}", ".a".repeat(n))),
        longest(|n| format!("context{} == 1", "[\"a\"]".repeat(n))),
        longest(|n| format!("context has a{}", ".a".repeat(n))),
        longest(|n| nested("[", "1", "]", n)),
        longest(|n| nested("{\"a\": ", "1", "}", n)),
    ];
    for text in unread {
        // Whether Cedar takes them is its matter: it lives to say so.
        let _ = checked(text);
    }
    for text in valid {
        on_a_small_stack(move || {
            let shown: String = text.chars().take(140).collect();
            let constitution = match charter(&text).check() {
                Ok(constitution) => constitution,
                Err(error) => panic!("{shown}: {error}"),
            };
            let ask = Ask::pay(&constitution, 1, ETHER);
            ask.permitted(&constitution, &mut Ledger::new());
        });
    }
}

#[test]
fn many_shallow_policies_are_not_deep() {
    let one = |n: usize| {
        format!(
            "@id(\"p{n}\") permit (principal in Role::\"desk\", action == Action::\"transfer\", \
             resource) when {{ [\"a;(\", \"b\\\"(\", \"c\"].contains(context.to) && \
             context.amount_micro <= {n} }}; // (((\n"
        )
    };
    let text: String = (0..500).map(one).collect();
    assert_eq!(checked(text), Ok(()));
}
