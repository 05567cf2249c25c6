//! Names that clients have made up are forgotten once nobody holds them.

use super::Core;

/// How many names may gather at least between two sweeps.
pub(super) const SLACK: usize = 10_000;

impl Core {
    /// Forgets what no table and no session holds, when there are more than twice as many names as were left last
    /// time: what a sweep costs is spread over the names that came since. Called when nothing that changed waits to
    /// be delivered, as that holds names, too.
    pub(super) fn sweep_names(&mut self) {
        if self.compiler.names().len() > self.names_limit {
            let streams = &self.streams.by_id;
            self.compiler.sweep_names(|visit| {
                for node in streams.values().filter_map(|stream| stream.node.as_ref()) {
                    node.session.visit_names(visit);
                    // Of a type that the client takes whole, what it rejects it need not hold.
                    for status in node.session.status() {
                        status.rejected.iter().for_each(|(name, _, _, _)| visit(*name));
                    }
                }
            });
            self.names_limit = limit_after(self.compiler.names().len());
        }
        self.metrics.names.set(i64::try_from(self.compiler.names().len()).unwrap_or(i64::MAX));
    }
}

const fn limit_after(left: usize) -> usize {
    2 * left + SLACK
}
