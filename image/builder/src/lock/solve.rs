//! Chooses versions that satisfy every dependency, with `resolvo`.
//!
//! A dependency becomes the union of the sets of versions that satisfy it, in the order of its
//! alternatives; a conflict becomes the set of versions it leaves. Recommends are not followed, and
//! `Essential` means nothing, since no maintainer script runs. The same input gives the same choice.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use resolvo::utils::{Pool, VersionSet};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};

use crate::lock::control::Relation;
use crate::lock::index::Index;

/// What is to be installed.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Names of packages.
    pub install: &'a [String],
    /// Names that count as there.
    pub provided: &'a [String],
    /// Versions to keep where nothing speaks against them.
    pub keep: BTreeMap<String, String>,
}

/// Why there is no choice.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A wanted name is no package.
    Unknown(String),
    /// The solver's explanation.
    Unsolvable(String),
}

/// Chooses; the result is the numbers of the chosen packages.
pub(crate) fn solve(index: &Index, request: &Request<'_>) -> Result<Vec<usize>, Failure> {
    let provider = Provider::new(index, request);
    let mut requirements = Vec::new();
    for name in request.install {
        let relation = Relation { name: name.clone(), version: None };
        if index.versions(name).is_empty() {
            return Err(Failure::Unknown(name.clone()));
        }
        requirements.push(provider.requirement(&[relation]));
    }
    let mut solver = Solver::new(provider);
    match solver.solve(Problem::new().requirements(requirements)) {
        Ok(chosen) => {
            let pool = &solver.provider().pool;
            let ids: BTreeSet<usize> = chosen.iter().map(|&id| pool.resolve_solvable(id).record.id).collect();
            Ok(ids.into_iter().collect())
        }
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            Err(Failure::Unsolvable(conflict.display_user_friendly(&solver).to_string()))
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(Failure::Unsolvable("cancelled".to_owned())),
    }
}

/// A package as the solver sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    id: usize,
    version: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

/// Versions of one package, by number, with the words that the relation used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Set {
    condition: String,
    ids: BTreeSet<usize>,
}

impl VersionSet for Set {
    type V = Record;
}

struct Provider<'a> {
    index: &'a Index,
    request: &'a Request<'a>,
    pool: Pool<Set, String>,
    solvables: RefCell<HashMap<usize, SolvableId>>,
}

impl<'a> Provider<'a> {
    fn new(index: &'a Index, request: &'a Request<'a>) -> Self {
        Provider { index, request, pool: Pool::new(), solvables: RefCell::default() }
    }

    fn solvable(&self, id: usize) -> SolvableId {
        *self.solvables.borrow_mut().entry(id).or_insert_with(|| {
            let package = self.index.package(id);
            let name = self.pool.intern_package_name(&package.name);
            self.pool.intern_solvable(name, Record { id, version: package.version.to_string() })
        })
    }

    fn set(&self, name: &str, condition: String, ids: impl IntoIterator<Item = usize>) -> VersionSetId {
        let name = self.pool.intern_package_name(name.to_owned());
        self.pool.intern_version_set(name, Set { condition, ids: ids.into_iter().collect() })
    }

    fn is_provided(&self, group: &[Relation]) -> bool {
        group.iter().any(|relation| self.request.provided.contains(&relation.name))
    }

    fn requirement(&self, group: &[Relation]) -> ConditionalRequirement {
        let mut sets = Vec::new();
        for relation in group {
            let before = sets.len();
            for (name, ids) in self.index.candidates(relation) {
                let condition =
                    if name == relation.name { relation.condition() } else { format!("as `{relation}`") };
                sets.push(self.set(name, condition, ids));
            }
            if sets.len() == before {
                sets.push(self.set(&relation.name, relation.condition(), []));
            }
        }
        let (first, others) = (sets[0], &sets[1..]);
        if others.is_empty() {
            Requirement::Single(first).into()
        } else {
            let union = self.pool.intern_version_set_union(first, others.iter().copied());
            Requirement::Union(union).into()
        }
    }

    /// What a conflict leaves of each package that it hits. A package never conflicts with itself, not
    /// even through what it provides (Debian Policy, 7.4).
    fn constraints(&self, own: &str, relation: &Relation) -> Vec<VersionSetId> {
        let hit = self.index.candidates(relation).into_iter().filter(|(name, _)| *name != own);
        hit.map(|(name, ids)| {
            let left = self.index.versions(name).iter().copied().filter(|id| !ids.contains(id));
            self.set(name, format!("to what is not `{relation}`"), left)
        })
        .collect()
    }
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl fmt::Display + '_ {
        let solvable = self.pool.resolve_solvable(solvable);
        format!("{} {}", self.pool.resolve_package_name(solvable.name), solvable.record)
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl fmt::Display + '_ {
        let Some(first) = solvables.first() else { return String::new() };
        let name = self.pool.resolve_package_name(self.pool.resolve_solvable(*first).name);
        let versions: BTreeSet<&str> =
            solvables.iter().map(|id| self.pool.resolve_solvable(*id).record.version.as_str()).collect();
        format!("{name} {}", versions.into_iter().collect::<Vec<_>>().join(" | "))
    }

    fn display_name(&self, name: NameId) -> impl fmt::Display + '_ {
        self.pool.resolve_package_name(name)
    }

    fn display_version_set(&self, set: VersionSetId) -> impl fmt::Display + '_ {
        &self.pool.resolve_version_set(set).condition
    }

    fn display_string(&self, string: StringId) -> impl fmt::Display + '_ {
        self.pool.resolve_string(string)
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(set)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(union)
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let set = self.pool.resolve_version_set(set);
        let inside = |id: &SolvableId| set.ids.contains(&self.pool.resolve_solvable(*id).record.id);
        candidates.iter().copied().filter(|id| inside(id) != inverse).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let name = self.pool.resolve_package_name(name);
        let ids = self.index.versions(name);
        if ids.is_empty() {
            return None;
        }
        let kept = self.request.keep.get(name);
        let favored =
            ids.iter().find(|id| kept.is_some_and(|v| v == self.index.package(**id).version.as_str()));
        Some(Candidates {
            candidates: ids.iter().map(|&id| self.solvable(id)).collect(),
            favored: favored.map(|&id| self.solvable(id)),
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _cache: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let version =
            |id: &SolvableId| &self.index.package(self.pool.resolve_solvable(*id).record.id).version;
        solvables.sort_by(|a, b| version(b).cmp(version(a)));
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let package = self.index.package(self.pool.resolve_solvable(solvable).record.id);
        let wanted = package.depends.iter().filter(|group| !self.is_provided(group));
        Dependencies::Known(KnownDependencies {
            requirements: wanted.map(|group| self.requirement(group)).collect(),
            constrains: package.conflicts.iter().flat_map(|c| self.constraints(&package.name, c)).collect(),
        })
    }
}
