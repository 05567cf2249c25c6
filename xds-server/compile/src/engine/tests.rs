use std::collections::BTreeMap;

use super::{Graph, MemoId, Program, Reader, planted};

/// Numbers by name, sums of them, and what is made of sums.
struct Sums;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    /// Set from outside.
    Given(&'static str),
    /// Of two facts.
    Sum(&'static str, &'static str),
    /// Is that sum odd?
    Odd(&'static str, &'static str),
    /// Of the sums of a given name with `a` and with `b`: a diamond.
    Both(&'static str),
    /// One fact.
    Item(&'static str),
    /// Collects the items that are held.
    All,
    /// Twice what is collected.
    Twice,
    /// Reads a memo of its own level.
    Wrong,
}

type World = BTreeMap<&'static str, i64>;

impl Program for Sums {
    type World = World;
    type Fact = &'static str;
    type Cell = i64;
    type Tools = Vec<Key>;
    type Key = Key;
    type Value = i64;
    type Element = i64;

    fn level(key: &Key) -> u8 {
        match key {
            Key::Given(_) => 0,
            Key::Sum(..) | Key::Item(_) => 1,
            Key::Odd(..) | Key::All => 2,
            Key::Both(_) | Key::Twice | Key::Wrong => 3,
        }
    }

    fn look_up(world: &World, fact: &&'static str) -> Option<i64> {
        world.get(fact).copied()
    }

    /// Notes in the tools what is computed.
    fn compute(key: &Key, r: &mut Reader<'_, Self>) -> i64 {
        r.tools().push(key.clone());
        match key {
            Key::Given(_) => unreachable!("an input"),
            Key::Sum(left, right) => r.fact(left).unwrap_or(0) + r.fact(right).unwrap_or(0),
            Key::Odd(left, right) => r.memo(&Key::Sum(left, right)) % 2,
            Key::Both(name) => {
                if r.memo(&Key::Given(name)) == 0 {
                    return r.memo(&Key::Sum("a", "b"));
                }
                r.memo(&Key::Sum("a", "b")) * 10 + r.memo(&Key::Odd("a", "b"))
            }
            Key::Item(name) => r.fact(name).unwrap_or(0),
            Key::All => 0,
            Key::Twice => r.memo(&Key::All) * 2,
            Key::Wrong => r.memo(&Key::Both("x")),
        }
    }

    fn contributions(key: &Key, value: &i64, contribute: &mut dyn FnMut(Key, &i64)) {
        if matches!(key, Key::Item(_)) {
            contribute(Key::All, value);
        }
    }

    fn collection(_: &Key, elements: &mut dyn Iterator<Item = &i64>) -> i64 {
        elements.sum()
    }
}

struct Rig {
    graph: Graph<Sums>,
    world: World,
}

impl Rig {
    fn new(world: &[(&'static str, i64)]) -> Self {
        Self { graph: Graph::default(), world: world.iter().copied().collect() }
    }

    /// Computes; what was computed, and what differs now.
    fn settle(&mut self) -> (Vec<Key>, Vec<Key>) {
        let (mut computed, mut differs) = (Vec::new(), Vec::new());
        while let Some(change) = self.graph.step(&self.world, &mut computed) {
            differs.push(self.graph.key(change.id).clone());
        }
        (computed, differs)
    }

    fn set(&mut self, fact: &'static str, value: i64) -> (Vec<Key>, Vec<Key>) {
        self.world.insert(fact, value);
        self.graph.invalidate([&fact]);
        self.settle()
    }

    fn value(&self, id: MemoId) -> i64 {
        self.graph.value(id).copied().unwrap()
    }
}

const SUM: Key = Key::Sum("a", "b");
const ODD: Key = Key::Odd("a", "b");

#[test]
fn a_change_reaches_exactly_the_memos_that_read_it_absent_or_not() {
    let mut rig = Rig::new(&[]);
    let (left, right) = (rig.graph.hold(Key::Sum("a", "b")), rig.graph.hold(Key::Sum("b", "c")));
    assert_eq!(rig.settle().0, [Key::Sum("a", "b"), Key::Sum("b", "c")]);
    assert_eq!(rig.set("a", 1), (vec![Key::Sum("a", "b")], vec![Key::Sum("a", "b")]));
    assert_eq!(rig.set("b", 2).0, [Key::Sum("a", "b"), Key::Sum("b", "c")]);
    assert_eq!((rig.value(left), rig.value(right)), (3, 2));
    assert_eq!(rig.set("d", 2), (vec![], vec![]));
}

#[test]
fn an_equal_value_stops_there() {
    let mut rig = Rig::new(&[("a", 1), ("b", 2)]);
    let odd = rig.graph.hold(ODD);
    // What it reads is computed when it asks for it.
    assert_eq!(rig.settle(), (vec![ODD, SUM], vec![SUM, ODD]));
    assert_eq!(rig.set("a", 3), (vec![SUM, ODD], vec![SUM]), "the sum differs, it is as odd as before");
    rig.world.insert("a", 2);
    assert_eq!(rig.set("b", 3), (vec![SUM], vec![]), "the sum is the same");
    assert_eq!(rig.set("a", 3).1, [SUM, ODD]);
    assert_eq!(rig.value(odd), 0);
}

#[test]
fn each_memo_is_computed_once_a_turn_after_all_that_it_reads() {
    let mut rig = Rig::new(&[("a", 1), ("b", 2)]);
    rig.graph.set(&Key::Given("x"), 1);
    let both = rig.graph.hold(Key::Both("x"));
    rig.settle();
    assert_eq!(rig.value(both), 31);
    // It reads the sum and what is made of the sum: two ways to one change.
    assert_eq!(rig.set("b", 3).0, [SUM, ODD, Key::Both("x")]);
    assert_eq!(rig.value(both), 40);
}

#[test]
fn an_input_is_read_like_everything_else() {
    let mut rig = Rig::new(&[("a", 1), ("b", 2)]);
    rig.graph.set(&Key::Given("x"), 0);
    let both = rig.graph.hold(Key::Both("x"));
    rig.settle();
    rig.graph.set(&Key::Given("x"), 0);
    assert_eq!(rig.settle(), (vec![], vec![]));
    rig.graph.set(&Key::Given("x"), 1);
    assert_eq!(rig.settle().0, [Key::Both("x"), ODD]);
    assert_eq!(rig.value(both), 31);
    rig.graph.unset(&Key::Given("x"));
    assert_eq!(rig.graph.collect(), [], "it is read");
    rig.graph.release(both);
    assert_eq!(rig.graph.collect().len(), 4);
    assert!(rig.graph.is_empty());
}

#[test]
fn a_memo_lives_while_it_is_held_or_read() {
    let mut rig = Rig::new(&[("a", 1), ("b", 2)]);
    let (odd, again) = (rig.graph.hold(ODD), rig.graph.hold(ODD));
    assert_eq!(odd, again);
    rig.settle();
    let sum = rig.graph.find(&SUM).unwrap();
    assert_eq!(rig.graph.hold(SUM), sum);
    rig.graph.release(odd);
    assert_eq!(rig.graph.collect(), []);
    rig.graph.release(odd);
    assert_eq!(rig.graph.collect(), [odd], "the sum is held");
    rig.graph.release(sum);
    let kept = rig.graph.hold(ODD);
    rig.settle();
    assert_eq!(rig.graph.collect(), [sum], "nobody needed it when the turn began");
    assert!(rig.graph.find(&SUM).is_some(), "it is computed anew for who reads it");
    rig.graph.release(kept);
    assert_eq!(rig.graph.collect().len(), 2);
    assert!(rig.graph.is_empty());
    assert_eq!(rig.set("a", 5), (vec![], vec![]), "its reads are gone with it");
}

#[test]
fn what_is_no_longer_read_goes() {
    let mut rig = Rig::new(&[("a", 1), ("b", 2)]);
    rig.graph.set(&Key::Given("x"), 1);
    rig.graph.hold(Key::Both("x"));
    rig.settle();
    let odd = rig.graph.find(&ODD).unwrap();
    rig.graph.set(&Key::Given("x"), 0);
    rig.settle();
    assert_eq!(rig.graph.collect(), [odd]);
    assert!(rig.graph.find(&SUM).is_some());
}

#[test]
fn what_nobody_needs_is_not_computed() {
    let mut rig = Rig::new(&[("a", 1), ("b", 2)]);
    let sum = rig.graph.hold(SUM);
    rig.settle();
    rig.graph.release(sum);
    assert_eq!(rig.set("a", 2), (vec![], vec![]));
    assert_eq!(rig.graph.collect(), [sum]);
}

#[test]
#[should_panic(expected = "memos read memos of lower levels only")]
fn a_memo_of_the_same_level_is_not_read() {
    let mut rig = Rig::new(&[]);
    rig.graph.hold(Key::Wrong);
    rig.settle();
}

#[test]
fn an_unrecorded_read_of_a_memo_leaves_an_old_value() {
    planted::FORGET.set(Some(|key| key.starts_with("Sum")));
    let mut rig = Rig::new(&[("a", 1), ("b", 2)]);
    let odd = rig.graph.hold(ODD);
    rig.settle();
    rig.set("a", 2);
    planted::FORGET.set(None);
    assert_eq!(rig.value(odd), 1, "the plant works: nobody told the memo");
}

#[test]
fn a_collection_has_each_element_as_long_as_somebody_contributes_it() {
    let mut rig = Rig::new(&[("a", 3), ("b", 3), ("c", 2)]);
    let twice = rig.graph.hold(Key::Twice);
    rig.settle();
    assert_eq!(rig.value(twice), 0);
    let items = ["a", "b", "c"].map(|name| rig.graph.hold(Key::Item(name)));
    let (_, differs) = rig.settle();
    assert_eq!(differs.iter().filter(|key| **key == Key::All).count(), 1, "once a turn: {differs:?}");
    assert_eq!(rig.value(twice), 2 * (3 + 2), "3 is contributed twice");
    rig.graph.release(items[0]);
    assert_eq!(rig.settle(), (vec![], vec![]), "the other one still does");
    rig.graph.release(items[1]);
    rig.settle();
    assert_eq!(rig.value(twice), 2 * 2);
    rig.set("c", 4);
    assert_eq!(rig.value(twice), 2 * 4, "the old element is gone");
    rig.graph.release(items[2]);
    assert_eq!(rig.settle().1, [Key::All, Key::Twice]);
    assert_eq!(rig.value(twice), 0);
    rig.graph.release(twice);
    rig.settle();
    rig.graph.collect();
    assert!(rig.graph.is_empty());
}
