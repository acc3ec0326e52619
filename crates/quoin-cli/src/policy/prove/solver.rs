//! The solver: cvc5 behind Cedar's symbolic compiler.

use super::case::Case;
use super::encode::{Question, encode, impossible};
use super::side::Side;
use super::terms::policy;
use crate::failure::Failure;
use cedar_policy::{Policy, PolicyId, PolicySet, RequestEnv, Schema, SchemaFragment};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, err};
use quoin_policy::schema_text;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// The variable that names the solver's program, as Cedar's symbolic compiler documents it.
const VARIABLE: &str = "CVC5";
/// The program's name on the path.
const PROGRAM: &str = "cvc5";
/// How long the solver may think about one question.
const TIME_LIMIT: &str = "--tlimit-per=30000";

/// What the solver says about a question.
#[derive(Debug)]
pub enum Found {
    /// There is no request that breaks it.
    Proven,
    /// A request that does.
    Broken(Box<Case>),
    /// The solver gave up, and why.
    Undecided(String),
}

/// The actions of the schema with the attributes of their contexts.
pub struct Actions {
    schema: Schema,
    attributes: BTreeMap<String, BTreeSet<String>>,
}

impl Actions {
    /// Reads the schema.
    pub fn read() -> Result<Self, Failure> {
        let failed = || "Quoin's own schema cannot be read";
        let text = schema_text();
        let (schema, _) =
            Schema::from_cedarschema_str(&text).map_err(Failure::from_error(failed()))?;
        let (fragment, _) =
            SchemaFragment::from_cedarschema_str(&text).map_err(Failure::from_error(failed()))?;
        let json = fragment
            .to_json_value()
            .map_err(Failure::from_error(failed()))?;
        let actions = json.pointer("//actions").and_then(Value::as_object);
        let attributes = actions.into_iter().flatten().map(|(name, action)| {
            let context = action.pointer("/appliesTo/context/attributes");
            let context = context.and_then(Value::as_object).into_iter().flatten();
            (
                name.clone(),
                context.map(|(name, _)| name.clone()).collect(),
            )
        });
        let attributes: BTreeMap<_, _> = attributes.collect();
        if attributes.is_empty() {
            return Err(Failure::new(failed()).because("it has no actions"));
        }
        Ok(Self { schema, attributes })
    }

    /// The names of all actions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str)
    }

    /// The attributes of an action's context.
    pub fn attributes(&self, action: &str) -> Option<&BTreeSet<String>> {
        self.attributes.get(action)
    }

    fn environment(&self, action: &str) -> Option<RequestEnv> {
        let mut all = self.schema.request_envs();
        all.find(|env| env.action().id().unescaped() == action)
    }
}

/// The solver's program: what the variable names, or what is on the path.
pub fn program() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|named| !named.is_empty());
    let on_path = || -> Option<PathBuf> {
        let path: OsString = std::env::var_os("PATH")?;
        let file = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
        let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(&file));
        candidates.find(|candidate| candidate.is_file())
    };
    match named {
        Some(named) => Some(PathBuf::from(named)).filter(|named| named.is_file()),
        None => on_path(),
    }
}

/// A running solver.
pub struct Solver<'a> {
    compiler: CedarSymCompiler<LocalSolver>,
    actions: &'a Actions,
}

impl<'a> Solver<'a> {
    /// Starts the program.
    pub fn start(program: &PathBuf, actions: &'a Actions) -> Result<Self, Failure> {
        let what = || format!("the solver `{}` cannot be started", program.display());
        let mut command = tokio::process::Command::new(program);
        command
            .args(["--lang", "smt", TIME_LIMIT])
            .kill_on_drop(true);
        let solver =
            LocalSolver::from_command(&mut command).map_err(Failure::from_error(what()))?;
        let compiler = CedarSymCompiler::new(solver).map_err(Failure::from_error(what()))?;
        Ok(Self { compiler, actions })
    }

    /// The actions that can be asked about.
    pub const fn actions(&self) -> &'a Actions {
        self.actions
    }

    /// Asks for a request that the new charter permits within the question's bound and the old one
    /// does not.
    pub async fn ask(
        &mut self,
        old: &Side,
        new: &Side,
        question: &Question,
    ) -> Result<Found, Failure> {
        let action = question.action.as_str();
        let what = || format!("the policies about `{action}` cannot be compared");
        let because = |why: String| Failure::new(what()).because(why);
        let attributes = self.actions.attributes(action);
        let attributes = attributes.ok_or_else(|| because("unknown action".to_owned()))?;
        let env = self.actions.environment(action);
        let env = env.ok_or_else(|| because("unknown action".to_owned()))?;
        let never = policy(false, impossible(old, new, action, attributes));
        let compiled = |side: &Side, other: &Side| -> Result<CompiledPolicySet, Failure> {
            let mut policies = encode(side, other, question).map_err(because)?;
            policies.push(never.clone());
            let set = policy_set(policies).map_err(because)?;
            CompiledPolicySet::compile(&set, &env, &self.actions.schema)
                .map_err(|e| because(explained(&e)))
        };
        let (before, after) = (compiled(old, new)?, compiled(new, old)?);
        let answer = self
            .compiler
            .check_implies_with_counterexample_opt(&after, &before)
            .await;
        match answer {
            Ok(None) => Ok(Found::Proven),
            Ok(Some(found)) => {
                let case = Case::read(&found.request, &found.entities, question);
                Ok(Found::Broken(Box::new(case.map_err(because)?)))
            }
            Err(err::Error::SolverUnknown) => Ok(Found::Undecided("it took too long".to_owned())),
            Err(error) => Err(because(explained(&error))),
        }
    }
}

/// An error with the errors that it carries: alone it says only that there are some.
fn explained(error: &err::Error) -> String {
    match error {
        err::Error::PolicyNotWellTyped { errs } => {
            let errors: Vec<String> = errs.iter().map(ToString::to_string).collect();
            format!("{error}: {}", errors.join("; "))
        }
        _ => error.to_string(),
    }
}

/// The policies as a set, numbered.
pub fn policy_set(policies: Vec<Value>) -> Result<PolicySet, String> {
    let mut set = PolicySet::new();
    for (number, json) in policies.into_iter().enumerate() {
        let id = PolicyId::from_str(&format!("policy-{number}")).map_err(|e| e.to_string())?;
        let policy = Policy::from_json(Some(id), json).map_err(|e| e.to_string())?;
        set.add(policy).map_err(|e| e.to_string())?;
    }
    Ok(set)
}
