//! No scenario breaks an obligation, and every mutant is caught by the scenario that is there for it.
//!
//! | variable | what |
//! |---|---|
//! | `HMN_MODEL` | only scenarios and mutants whose name has this in it |
//! | `HMN_MODEL_STATES` | how many states of each scenario are looked at; 0: all of them. Default 1,000,000 |
//! | `HMN_MODEL_WALKS` | how many states are visited in random walks. Default 500,000 |
//! | `HMN_MODEL_SEED` | where the random walks begin |

use hypermnesia_model::{Action, Cluster, Mutant, Obligation, Scenario, scenarios};
use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Path, UniformChooser};

/// Most states that are looked at for a mutant, breadth first.
const MUTANT_STATES: usize = 20_000_000;

/// Most states of the random walks for a mutant before it is looked for breadth first.
const MUTANT_WALK: usize = 8_000_000;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, otherwise: usize) -> usize {
    variable(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn is_wanted(name: &str) -> bool {
    variable("HMN_MODEL").is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase()))
}

fn checker(scenario: Scenario) -> CheckerBuilder<Scenario> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    scenario.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures)
}

/// The first obligation that was broken, and the steps that led there.
fn broken(checker: &impl Checker<Scenario>) -> Option<(&'static str, Path<Cluster, Action>)> {
    checker.discoveries().into_iter().find(|(name, _)| Obligation::ALL.iter().any(|one| one.name() == *name))
}

fn assert_unbroken(checker: &impl Checker<Scenario>) {
    if let Some((obligation, path)) = broken(checker) {
        let steps: String = path.into_actions().iter().map(|action| format!("  {action:?}\n")).collect();
        panic!("{} breaks {obligation}:\n{steps}", checker.model().name);
    }
}

#[test]
fn no_scenario_breaks_an_obligation() {
    // Aim: O1 to O9 in every state, and that the scenario shows what it is there for. Method: breadth first, so that what
    // is found is as short as can be; whole scenarios as far as the bound reaches, and random walks far behind it.
    let states = number("HMN_MODEL_STATES", 1_000_000);
    let seed = number("HMN_MODEL_SEED", 1) as u64;
    for scenario in scenarios::ALL.into_iter().filter(|scenario| is_wanted(scenario.name)) {
        let bounded =
            checker(scenario.clone()).target_state_count(if states == 0 { usize::MAX } else { states });
        let visited = bounded.spawn_bfs().join();
        assert_unbroken(&visited);
        let whole = states == 0 || visited.state_count() < states;
        let walks = number("HMN_MODEL_WALKS", 500_000);
        let walked =
            checker(scenario.clone()).target_state_count(walks).spawn_simulation(seed, UniformChooser).join();
        assert_unbroken(&walked);
        println!(
            "{:16} {:>10} states, {:>3} deep, {}; {} states of walks",
            scenario.name,
            visited.unique_state_count(),
            visited.max_depth(),
            if whole { "all of them" } else { "a part" },
            walked.state_count(),
        );
        for sight in scenario.wanted.iter().map(|sight| sight.name()) {
            let seen = visited.discovery(sight).is_some() || walked.discovery(sight).is_some();
            assert!(seen, "{}: never {sight}", scenario.name);
        }
    }
}

#[test]
fn every_mutant_is_caught() {
    // Aim: the model can tell a right text from a wrong one. Method: each simpler text of the protocol's list, and those
    // that were tempting on the way, planted one at a time: random walks first, which are quick, then breadth first.
    for mutant in Mutant::ALL.into_iter().filter(|mutant| is_wanted(&format!("{mutant:?}"))) {
        let scenario = scenarios::that_catches(mutant);
        let name = scenario.name;
        let walked = checker(scenario.clone())
            .target_state_count(MUTANT_WALK)
            .spawn_simulation(1, UniformChooser)
            .join();
        let found = broken(&walked).or_else(|| {
            broken(&checker(scenario.clone()).target_state_count(MUTANT_STATES).spawn_bfs().join())
        });
        let Some((what, path)) = found else { panic!("{mutant:?} is not caught by {name}") };
        println!("{mutant:?} breaks {what} in {name:?}, {} steps", path.into_actions().len());
    }
}
