//! How much CPU and memory the process may use: the machine's, or less where a container or a limit says so.
//!
//! Sources: cgroups(7), proc(5); the kernel's cgroup-v2 document (`cpu.max`, `memory.max`), and for version 1 the
//! scheduler's CFS bandwidth control and the memory controller.

use std::path::{Path, PathBuf};

/// What the process may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// CPUs, above 0; may be fractional.
    pub cpus: f64,
    /// Bytes of memory; absent where the system does not tell.
    pub memory_bytes: Option<u64>,
}

impl Capacity {
    /// That of the running process.
    #[must_use]
    pub fn of_this_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks the kernel about this process")]
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let parallelism = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::from_files(read, parallelism)
    }

    /// From what `read` finds below `/proc` and `/sys`. `parallelism` counts where the CPUs that the process may run
    /// on cannot be read.
    #[must_use]
    pub fn from_files(read: impl Fn(&Path) -> Option<String>, parallelism: usize) -> Self {
        let text = |path: &str| read(Path::new(path)).unwrap_or_default();
        let groups = groups(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"));
        let affinity = allowed_cpus(&text("/proc/self/status")).unwrap_or(parallelism).max(1) as f64;
        let quota = groups
            .iter()
            .flat_map(|group| group.folders().map(|folder| group.cpu_quota(&folder, &read)))
            .flatten()
            .fold(affinity, f64::min);

        let host = host_memory(&text("/proc/meminfo"));
        let group_limit = groups
            .iter()
            .flat_map(|group| group.folders().map(|folder| group.memory_limit(&folder, &read)))
            .flatten()
            .min()
            // Version 1 says "no limit" with a number that no machine has.
            .filter(|limit| host.is_none_or(|host| *limit < host));
        let process_limit = || process_memory_limit(&text("/proc/self/limits"));
        let memory_bytes = group_limit.or_else(process_limit).into_iter().chain(host).min();
        Self { cpus: quota, memory_bytes }
    }

    /// Threads to compute with: as configured, or, for 0, as many as it takes to use all CPUs.
    #[must_use]
    pub fn threads(&self, configured: usize) -> usize {
        match configured {
            0 => (self.cpus.ceil() as usize).max(1),
            threads => threads,
        }
    }
}

/// A control group of the process.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The process' group, relative to the mount.
    group: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// The folder of the group and of all groups that it is part of: each may have a limit.
    fn folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.group.ancestors().map(|group| self.mount.join(group))
    }

    fn cpu_quota(&self, folder: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<f64> {
        let (quota, period) = match self.version {
            Version::Two => {
                let text = read(&folder.join("cpu.max"))?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.to_owned(), period.to_owned())
            }
            Version::One => (read(&folder.join("cpu.cfs_quota_us"))?, read(&folder.join("cpu.cfs_period_us"))?),
        };
        // "max" and -1 are no limit.
        let quota: u64 = quota.trim().parse().ok()?;
        let period: u64 = period.trim().parse().ok()?;
        (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
    }

    fn memory_limit(&self, folder: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
        let file = match self.version {
            Version::Two => "memory.max",
            Version::One => "memory.limit_in_bytes",
        };
        // "max" is no limit.
        read(&folder.join(file))?.trim().parse().ok().filter(|limit| *limit > 0)
    }
}

/// The groups that may limit CPU or memory, from `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn groups(cgroup: &str, mountinfo: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for (root, mount, filesystem, options) in mountinfo.lines().filter_map(mount) {
        let version = match filesystem {
            "cgroup2" => Version::Two,
            "cgroup" => Version::One,
            _ => continue,
        };
        let own = cgroup.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let same_hierarchy = match version {
                Version::Two => controllers.is_empty(),
                Version::One => controllers
                    .split(',')
                    .any(|name| ["cpu", "memory"].contains(&name) && options.split(',').any(|option| option == name)),
            };
            same_hierarchy.then_some(path)
        });
        if let Some(path) = own {
            // A container may see its own group as the root of the mount, under the host's path.
            let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
            groups.push(Group { version, mount: PathBuf::from(mount), group: below.to_owned() });
        }
    }
    groups
}

/// (root within the file system, mount point, type of the file system, its options) of a line of mountinfo.
fn mount(line: &str) -> Option<(&str, &str, &str, &str)> {
    let (place, filesystem) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let mut filesystem = filesystem.split(' ');
    Some((place.next()?, place.next()?, filesystem.next()?, filesystem.nth(1)?))
}

/// The number of CPUs in `Cpus_allowed_list` of `/proc/self/status`, e.g. 5 for `0-3,8`.
fn allowed_cpus(status: &str) -> Option<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let counts = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    counts.sum::<Option<usize>>().filter(|count| *count > 0)
}

/// The smallest soft limit of `/proc/self/limits` that bounds memory.
fn process_memory_limit(limits: &str) -> Option<u64> {
    ["Max address space", "Max data size"]
        .iter()
        .filter_map(|name| limits.lines().find_map(|line| line.strip_prefix(name)))
        .filter_map(|values| values.split_whitespace().next()?.parse().ok())
        .min()
}

/// `MemTotal` of `/proc/meminfo`.
fn host_memory(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;
    const HOST: [(&str, &str); 3] = [
        ("/proc/self/status", "Name:\tx\nCpus_allowed:\t10f\nCpus_allowed_list:\t0-3,8\n"),
        ("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:        1 kB\n"),
        ("/proc/self/limits", "Max data size             unlimited            unlimited            bytes     \n"),
    ];
    const VERSION_2: (&str, &str) =
        ("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");

    fn capacity(files: &[(&str, &str)]) -> Capacity {
        let files: HashMap<&Path, &str> =
            HOST.iter().chain(files).map(|(path, text)| (Path::new(*path), *text)).collect();
        Capacity::from_files(|path| files.get(path).map(|text| (*text).to_owned()), 64)
    }

    #[test]
    fn without_limits_it_is_the_machine_and_the_cpus_allowed() {
        assert_eq!(capacity(&[]), Capacity { cpus: 5.0, memory_bytes: Some(16 * GIB) });
    }

    #[test]
    fn a_container_with_its_own_cgroup_namespace_has_its_limits() {
        let capacity = capacity(&[
            VERSION_2,
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/memory.max", "1073741824\n"),
        ]);
        assert_eq!(capacity, Capacity { cpus: 1.5, memory_bytes: Some(GIB) });
    }

    #[test]
    fn the_tightest_limit_of_all_groups_around_counts() {
        let capacity = capacity(&[
            VERSION_2,
            ("/proc/self/cgroup", "0::/a.slice/b.service\n"),
            ("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/a.slice/b.service/memory.max", "4294967296\n"),
            ("/sys/fs/cgroup/a.slice/cpu.max", "20000 100000\n"),
            ("/sys/fs/cgroup/a.slice/memory.max", "2147483648\n"),
        ]);
        assert_eq!(capacity, Capacity { cpus: 0.2, memory_bytes: Some(2 * GIB) });
    }

    #[test]
    fn a_container_of_cgroup_version_1_has_its_limits_under_the_hosts_path() {
        let mounts = "\
            33 31 0:30 /kubepods/pod1/x /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
            34 31 0:31 /kubepods/pod1/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
            35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let capacity = capacity(&[
            ("/proc/self/mountinfo", mounts),
            ("/proc/self/cgroup", "9:memory:/kubepods/pod1/x\n8:cpuacct,cpu:/kubepods/pod1/x\n0::/\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
        ]);
        assert_eq!(capacity, Capacity { cpus: 2.0, memory_bytes: Some(GIB) });
    }

    #[test]
    fn the_numbers_by_which_version_1_says_unlimited_are_no_limits() {
        let capacity = capacity(&[
            (
                "/proc/self/mountinfo",
                "1 2 0:3 / /c rw - cgroup cgroup rw,cpu\n1 2 0:4 / /m rw - cgroup cgroup rw,memory\n",
            ),
            ("/proc/self/cgroup", "4:memory:/x\n1:cpu:/\n"),
            ("/c/cpu.cfs_quota_us", "-1\n"),
            ("/c/cpu.cfs_period_us", "100000\n"),
            ("/m/x/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(capacity, Capacity { cpus: 5.0, memory_bytes: Some(16 * GIB) });
    }

    #[test]
    fn the_limit_of_the_process_counts_where_no_group_has_one() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax address space   1073741824   unlimited  bytes \n";
        assert_eq!(capacity(&[("/proc/self/limits", limits)]).memory_bytes, Some(GIB));
    }

    #[test]
    fn a_system_without_these_files_gives_its_parallelism_and_no_memory() {
        assert_eq!(Capacity::from_files(|_| None, 8), Capacity { cpus: 8.0, memory_bytes: None });
    }

    #[test]
    fn a_fraction_of_a_cpu_is_a_thread_of_its_own() {
        let threads = |cpus, configured| Capacity { cpus, memory_bytes: None }.threads(configured);
        assert_eq!([threads(0.2, 0), threads(1.5, 0), threads(4.0, 0), threads(4.0, 7)], [1, 2, 4, 7]);
    }

    #[test]
    fn the_running_process_has_something() {
        let capacity = Capacity::of_this_process();
        assert!(capacity.cpus > 0.0 && capacity.memory_bytes.is_none_or(|bytes| bytes > 1 << 20), "{capacity:?}");
    }

    proptest! {
        #[test]
        fn any_content_gives_a_capacity_above_zero(texts in proptest::collection::vec("[-0-9a-z:/, \n]{0,60}", 6)) {
            let capacity = Capacity::from_files(
                |path| texts.get(path.as_os_str().len() % 7).cloned(),
                1,
            );
            prop_assert!(capacity.cpus > 0.0 && capacity.threads(0) >= 1);
        }
    }
}
