//! The degrade policy: ordered rules that say for each event whether it is sent, kept, handed on or dropped.
//!
//! A rule that depends on the channel's health begins and ceases to count only after the health lasted for its times, so that a
//! channel that flaps does not flap the policy. Pure: rules, health and times come in, decisions come out; `bugle policy
//! simulate` runs the same functions over stored events.
//!
//! Invariant: the first rule that counts and fits decides, and an event that none fits is sent.

use crate::event::Class;
use crate::spec::{DegradeAction, DegradeRule, Health};
use crate::time::{Millis, Timestamp};

/// Which rules count now: one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting(pub u32);

/// How the channel is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) health: Health,
    pub(crate) since: Timestamp,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub action: DegradeAction,
    /// The rule that says so; `None` if none fits.
    pub rule: Option<usize>,
}

/// How a class as a whole is treated: what reading and starting need to know before they look at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    /// Its events are started.
    Flow,
    /// None of them is started.
    Hold,
    /// Some of them leave without a call.
    Move,
}

impl Counting {
    fn has(self, rule: usize) -> bool {
        self.0 >> rule & 1 == 1
    }

    /// The rules that count after the health has lasted for ever.
    #[must_use]
    pub fn lasting(rules: &[DegradeRule], health: Health) -> Counting {
        let condition = Condition { health, since: Timestamp(0) };
        Counting::default().settled(rules, condition, Timestamp(u64::MAX))
    }

    /// The rules that count now, given those that counted when the health was looked at before. Must be asked before each
    /// change of the health and may be asked at any time in between.
    pub(crate) fn settled(self, rules: &[DegradeRule], condition: Condition, now: Timestamp) -> Counting {
        let lasted = now.since(condition.since);
        let bit = |(number, rule): (usize, &DegradeRule)| {
            let counts = match rule.health {
                None => true,
                Some(health) if health == condition.health => self.has(number) || lasted >= rule.sustained,
                Some(_) => self.has(number) && lasted < rule.until,
            };
            u32::from(counts) << number
        };
        Counting(rules.iter().enumerate().map(bit).sum())
    }

    /// When the rules that count change next, if the health stays as it is.
    pub(crate) fn next_change(self, rules: &[DegradeRule], condition: Condition) -> Option<Timestamp> {
        let change = |(number, rule): (usize, &DegradeRule)| match (rule.health?, self.has(number)) {
            (health, false) if health == condition.health => Some(condition.since.after(rule.sustained)),
            (health, true) if health != condition.health => Some(condition.since.after(rule.until)),
            (Health::Healthy | Health::Sick, _) => None,
        };
        rules.iter().enumerate().filter_map(change).min()
    }

    fn rules_for(self, rules: &[DegradeRule], class: Class) -> impl Iterator<Item = (usize, &DegradeRule)> {
        rules.iter().enumerate().filter(move |(number, rule)| self.has(*number) && rule.classes.has(class))
    }

    /// What becomes of an event of this class and age.
    #[must_use]
    pub fn decide(self, rules: &[DegradeRule], class: Class, age: Millis) -> Decision {
        let fits = |(_, rule): &(usize, &DegradeRule)| age >= rule.older_than;
        match self.rules_for(rules, class).find(fits) {
            Some((number, rule)) => Decision { action: rule.action, rule: Some(number) },
            None => Decision { action: DegradeAction::Send, rule: None },
        }
    }

    /// The next age at which an event of this class may be decided differently.
    pub(crate) fn next_age(self, rules: &[DegradeRule], class: Class, age: Millis) -> Option<Millis> {
        self.rules_for(rules, class).map(|(_, rule)| rule.older_than).filter(|older| *older > age).min()
    }

    pub(crate) fn stance(self, rules: &[DegradeRule], class: Class) -> Stance {
        let mut moves = false;
        for (_, rule) in self.rules_for(rules, class) {
            let is_for_all = rule.older_than == Millis(0);
            match rule.action {
                DegradeAction::Reroute(_) | DegradeAction::Drop => moves = true,
                DegradeAction::Defer if is_for_all && !moves => return Stance::Hold,
                DegradeAction::Send | DegradeAction::Defer => {}
            }
            if is_for_all {
                break;
            }
        }
        if moves { Stance::Move } else { Stance::Flow }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{Condition, Counting, Decision, Stance};
    use crate::event::Class;
    use crate::ids::TopicId;
    use crate::spec::{Classes, DegradeAction, DegradeRule, Health};
    use crate::time::{Millis, Timestamp};

    fn rule(classes: &[Class], health: Option<Health>, action: DegradeAction) -> DegradeRule {
        DegradeRule {
            classes: Classes::of(classes),
            health,
            older_than: Millis(0),
            action,
            sustained: Millis(0),
            until: Millis(0),
        }
    }

    #[test]
    fn only_critical_while_sick_is_one_rule() {
        let rules = [rule(&[Class::Normal, Class::Low], Some(Health::Sick), DegradeAction::Defer)];
        let action = |health, class| Counting::lasting(&rules, health).decide(&rules, class, Millis(0)).action;
        assert_eq!(action(Health::Sick, Class::Critical), DegradeAction::Send);
        assert_eq!(action(Health::Sick, Class::Normal), DegradeAction::Defer);
        assert_eq!(action(Health::Sick, Class::Low), DegradeAction::Defer);
        assert_eq!(action(Health::Healthy, Class::Low), DegradeAction::Send);
    }

    #[test]
    fn first_rule_that_fits_decides_by_class_health_and_age() {
        let old = DegradeRule { older_than: Millis(500), ..rule(&[Class::Low], None, DegradeAction::Drop) };
        let rules = [
            old,
            rule(&[Class::Critical], Some(Health::Sick), DegradeAction::Reroute(TopicId(7))),
            rule(&[Class::Critical, Class::Low], None, DegradeAction::Defer),
        ];
        let sick = Counting::lasting(&rules, Health::Sick);
        let check = |class, age, action, rule| {
            assert_eq!(sick.decide(&rules, class, Millis(age)), Decision { action, rule });
        };
        check(Class::Low, 500, DegradeAction::Drop, Some(0));
        check(Class::Low, 499, DegradeAction::Defer, Some(2));
        check(Class::Critical, 0, DegradeAction::Reroute(TopicId(7)), Some(1));
        check(Class::Normal, 9_999, DegradeAction::Send, None);
        assert_eq!(sick.next_age(&rules, Class::Low, Millis(499)), Some(Millis(500)));
        assert_eq!(sick.next_age(&rules, Class::Low, Millis(500)), None);
        let stances = [Class::Critical, Class::Normal, Class::Low].map(|class| sick.stance(&rules, class));
        assert_eq!(stances, [Stance::Move, Stance::Flow, Stance::Move]);
        let healthy = Counting::lasting(&rules, Health::Healthy);
        assert_eq!(healthy.stance(&rules, Class::Critical), Stance::Hold);
    }

    /// A channel that flaps faster than the times of a rule never changes whether the rule counts.
    #[test]
    fn hysteresis_does_not_flap() {
        let slow = DegradeRule {
            sustained: Millis(100),
            until: Millis(300),
            ..rule(&[Class::Low], Some(Health::Sick), DegradeAction::Drop)
        };
        let rules = [slow];
        let mut random = 3_u64;
        let mut next = |end: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        for _ in 0..300 {
            let (mut counting, mut now) = (Counting::default(), 1_000);
            let mut condition = Condition { health: Health::Healthy, since: Timestamp(0) };
            let mut changes: Vec<u64> = Vec::new();
            for _ in 0..200 {
                let lasts = 1 + next(400);
                let end = now + lasts;
                while let Some(at) = counting.next_change(&rules, condition).filter(|at| at.0 <= end) {
                    assert_eq!(counting.settled(&rules, condition, Timestamp(at.0.max(1) - 1)), counting, "too early");
                    let changed = counting.settled(&rules, condition, at);
                    assert_ne!(changed, counting, "a change was announced");
                    counting = changed;
                    changes.push(at.0);
                }
                assert_eq!(counting.settled(&rules, condition, Timestamp(end)), counting);
                // As long as its condition or long after it: that is what the times mean.
                let long = condition.health == Health::Sick && lasts >= 100;
                assert!(!long || counting.0 == 1);
                assert!(!(condition.health == Health::Healthy && lasts >= 300) || counting.0 == 0);
                now = end;
                let health = if condition.health == Health::Sick { Health::Healthy } else { Health::Sick };
                condition = Condition { health, since: Timestamp(now) };
            }
            assert!(changes.windows(2).all(|pair| pair[1] - pair[0] >= 100), "flapped: {changes:?}");
        }
    }
}
