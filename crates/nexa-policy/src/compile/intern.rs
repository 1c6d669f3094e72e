//! One number for equal classes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Class, ClassId, Grant};

/// Classes in use, each with how many prefixes have it.
#[derive(Clone, Debug)]
pub struct Classes {
    ids: HashMap<Arc<Class>, ClassId>,
    /// By number.
    classes: Vec<(Arc<Class>, usize)>,
    free: Vec<ClassId>,
    nothing: Arc<Class>,
}

impl Default for Classes {
    fn default() -> Self {
        let nothing: Arc<Class> = Arc::from([]);
        // The empty class is always there and never counted.
        Self { ids: HashMap::new(), classes: vec![(Arc::clone(&nothing), 0)], free: Vec::new(), nothing }
    }
}

impl Classes {
    /// The number of a class, for one more prefix. A new number is noted.
    pub fn acquire(&mut self, grants: &[Grant], touched: &mut BTreeSet<ClassId>) -> ClassId {
        if grants.is_empty() {
            return ClassId::EMPTY;
        }
        if let Some(id) = self.ids.get(grants) {
            self.classes[id.0 as usize].1 += 1;
            return *id;
        }
        let class: Arc<Class> = Arc::from(grants);
        let id = match self.free.pop() {
            Some(id) => {
                self.classes[id.0 as usize] = (Arc::clone(&class), 1);
                id
            }
            None => {
                self.classes.push((Arc::clone(&class), 1));
                // A class has at least one grant and a policy fewer than four thousand million of them.
                ClassId(u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.ids.insert(class, id);
        touched.insert(id);
        id
    }

    /// One prefix has it no more. A number that nobody has then is noted.
    pub fn release(&mut self, id: ClassId, touched: &mut BTreeSet<ClassId>) {
        if id == ClassId::EMPTY {
            return;
        }
        let (class, prefixes) = &mut self.classes[id.0 as usize];
        *prefixes -= 1;
        if *prefixes == 0 {
            let class = std::mem::replace(class, Arc::clone(&self.nothing));
            self.ids.remove(&class);
            self.free.push(id);
            touched.insert(id);
        }
    }

    /// The grants; none of a number that nobody has.
    pub fn get(&self, id: ClassId) -> &Class {
        self.classes.get(id.0 as usize).map_or(&[], |(class, _)| class)
    }

    /// Classes in use, without the empty one.
    pub fn ids(&self) -> impl Iterator<Item = ClassId> + '_ {
        self.ids.values().copied()
    }
}
