//! Whole worlds: without a defect nothing is found, and with each defect its checker fires.

use quoin_sim::faults::{Counts, Defect};
use quoin_sim::{Options, Violation, run_seed, run_seeds, run_with};

/// How many seeds a defect may take to be found.
const SEEDS_MAX: u64 = 60;

/// The first seed that shows what `is_it` with the defect put in, and nothing without it.
#[expect(clippy::panic, reason = "a helper of tests, which may panic")]
fn found(defect: Defect, is_it: impl Fn(&Violation) -> bool) -> u64 {
    for seed in 1..=SEEDS_MAX {
        let options = Options {
            defect: Some(defect),
            ..Options::default()
        };
        if run_with(seed, options).violations.iter().any(&is_it) {
            let sound = run_seed(seed, false).violations;
            assert_eq!(sound, [], "seed {seed} fails without the defect");
            return seed;
        }
    }
    panic!("no seed up to {SEEDS_MAX} shows {defect:?}");
}

#[test]
fn a_disk_that_reports_too_early_is_found() {
    found(Defect::LyingDisk, |v| {
        matches!(v, Violation::AnsweredBeforeDurable(..))
    });
}

#[test]
fn a_node_whose_memory_was_copied_gives_its_share_away() {
    let reused = found(Defect::ClonedMemory, |v| {
        matches!(v, Violation::PresignatureReused(..))
    });
    let extracted = found(Defect::ClonedMemory, |v| {
        matches!(v, Violation::ShareExtracted(_))
    });
    assert_eq!(reused, extracted);
}

#[test]
fn a_charter_that_lets_more_through_than_the_written_one_is_found() {
    found(Defect::LaxCharter, |v| {
        matches!(v, Violation::SignedAgainstPolicy(_))
    });
}

#[test]
fn a_budget_that_is_larger_than_the_written_one_is_found() {
    found(Defect::LooseBudget, |v| {
        matches!(v, Violation::OverBudget(..))
    });
}

#[test]
fn nodes_that_forget_requests_and_slots_are_found() {
    let slot = |v: &Violation| matches!(v, Violation::SlotFilledTwice(_));
    let request = |v: &Violation| matches!(v, Violation::TwoPayloads(_));
    found(Defect::OlderDisks, slot);
    found(Defect::OlderDisks, request);
}

#[test]
fn nodes_that_show_an_older_state_are_found() {
    found(Defect::OlderDisks, |v| matches!(v, Violation::WentBack(_)));
}

#[test]
fn a_gateway_that_returns_another_signature_is_found() {
    found(Defect::AlteredSignature, |v| {
        matches!(v, Violation::DoesNotVerify(_))
    });
}

#[test]
fn a_node_that_does_not_see_that_its_clock_is_wrong_is_found() {
    found(Defect::BlindClock, |v| {
        matches!(v, Violation::SignedWithWrongClock(_))
    });
}

#[test]
fn a_share_that_is_erased_before_all_hold_the_next_epoch_is_found() {
    found(Defect::EraseEarly, |v| {
        matches!(v, Violation::ErasedTooEarly(..))
    });
}

#[test]
fn a_key_of_which_no_epoch_has_enough_shares_left_is_found() {
    found(Defect::ForgottenShares, |v| {
        matches!(v, Violation::NoUsableEpoch(_))
    });
}

#[test]
fn an_epoch_that_comes_into_use_without_its_backups_is_found() {
    found(Defect::LostBackups, |v| {
        matches!(v, Violation::ActiveWithoutBackup(..))
    });
}

#[test]
fn an_epoch_that_is_made_twice_on_older_disks_is_found() {
    found(Defect::OlderDisks, |v| {
        matches!(v, Violation::EpochWentBack(..))
    });
}

#[test]
fn a_cluster_that_does_not_recover_is_found() {
    found(Defect::LostRequests, |v| {
        matches!(v, Violation::NoRecovery(_))
    });
}

#[test]
fn a_payment_without_the_approval_that_the_written_charter_asks_for_is_found() {
    found(Defect::UnapprovedVault, |v| {
        matches!(v, Violation::SignedAgainstPolicy(_))
    });
}

#[test]
fn a_charter_that_comes_into_force_without_its_delay_is_found() {
    found(Defect::HastyCharters, |v| {
        matches!(v, Violation::CharterTooEarly(..))
    });
}

#[test]
fn a_sticky_budget_that_is_larger_than_the_written_one_is_found() {
    found(Defect::LooseSticky, |v| {
        matches!(v, Violation::OverBudget(..))
    });
}

#[test]
fn a_corridor_that_is_wider_than_the_written_one_is_found() {
    found(Defect::LooseCorridor, |v| {
        matches!(v, Violation::CorridorOverBudget(..))
    });
}

#[test]
fn a_node_that_ignores_a_freeze_on_its_disk_is_found() {
    found(Defect::DeafToFreezes, |v| {
        matches!(v, Violation::FreezeIgnored(..))
    });
}

#[test]
fn a_node_that_goes_on_without_hearing_of_a_freeze_is_found() {
    found(Defect::BlindFreezes, |v| {
        matches!(v, Violation::FreezeOutlived(..))
    });
}

#[test]
fn a_node_that_ignores_a_veto_on_its_disk_is_found() {
    found(Defect::DeafToVetoes, |v| {
        matches!(v, Violation::VetoIgnored(..))
    });
    found(Defect::DeafToVetoes, |v| {
        matches!(v, Violation::SignedVetoed(_))
    });
}

#[test]
fn a_freeze_that_comes_back_after_it_was_lifted_is_found() {
    found(Defect::ForgottenLifts, |v| {
        matches!(v, Violation::FreezeCameBack(..))
    });
}

#[test]
fn a_freeze_that_malicious_nodes_lift_is_found() {
    found(Defect::EchoedLifts, |v| {
        matches!(v, Violation::LiftedByNobody(..))
    });
}

#[test]
fn nodes_that_never_agree_on_what_is_frozen_are_found() {
    found(Defect::LostFreezes, |v| matches!(v, Violation::Diverged(_)));
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..6 {
        let (one, two) = (run_seed(seed, false), run_seed(seed, true));
        assert_eq!(one.trace, two.trace, "seed {seed}");
        assert_eq!(one.counts, two.counts, "seed {seed}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let options = Options {
        defect: Some(Defect::AlteredSignature),
        ..Options::default()
    };
    let one = run_seeds(1, 12, 1, options, &|_| {});
    let three = run_seeds(1, 12, 3, options, &|_| {});
    assert_eq!(one.violations, three.violations);
    assert_eq!(one.counts, three.counts);
    assert!(!one.violations.is_empty());
}

#[test]
fn sound_worlds_break_no_invariant_and_every_fault_happens() {
    let report = run_seeds(1, 80, 2, Options::default(), &|_| {});
    assert_eq!(report.violations, []);
    let Counts {
        signed,
        refused,
        keys_made,
        keys_renewed,
        handovers,
        shares_erased,
        keys_changed,
        backups,
        faults,
        pauses,
        approvals,
        charters,
        freezes,
        lifts,
        vetoes,
        vetoed_late: _,
        slots_reused,
        in_corridor,
        sets,
        islands,
        crashes,
        gateway_crashes,
        cuts,
        clock_jumps,
        slow_disks,
        frames_lost,
        frames_doubled,
        frames_tampered,
        lies,
    } = report.counts;
    assert!(signed > 100 && refused > 50, "{signed} {refused}");
    let counts = [
        keys_made,
        keys_renewed,
        handovers,
        shares_erased,
        keys_changed,
        backups,
        faults,
        pauses,
        approvals,
        charters,
        freezes,
        lifts,
        vetoes,
        slots_reused,
        in_corridor,
        sets,
        islands,
        crashes,
        gateway_crashes,
        cuts,
        clock_jumps,
        slow_disks,
        frames_lost,
        frames_doubled,
        frames_tampered,
        lies,
    ];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}
