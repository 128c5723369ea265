"""The names that workflow code may not use, and the rule that each would break."""

from __future__ import annotations

import re
from dataclasses import dataclass

from durable.analyzer import rules

ANY = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a name.

    Attributes:
        rule: The id of the rule that its use breaks.
        hint: What to use instead; the rule's own if empty.
        arguments: The call is forbidden with up to so many arguments: ``localtime(value)`` reads no clock.
    """

    rule: str
    hint: str = ""
    arguments: int = ANY


def _entries(rule: str, names: str, *, under: str = "", hint: str = "", arguments: int = ANY) -> dict[str, Entry]:
    entry = Entry(rule=rule, hint=hint, arguments=arguments)
    return {f"{under}.{name}" if under else name: entry for name in names.split()}


_NOW = "Use workflow.now(), which replay repeats."
_TODAY = "Use workflow.now().date(), which replay repeats."
_TIME = "Use workflow.time(), which replay repeats."
_RANDOM = "Use workflow.random(), which replay repeats; workflow.random().choice(...) and such work too."
_UUID = "Use workflow.uuid4(), which replay repeats."
_NAP = "Use await asyncio.sleep(...), which is a durable timer in a workflow."
_LOCK = "Use asyncio.Lock and its like, which wait for nothing but the workflow's own tasks."
_OTHERS = "Run a child, use workflow.signal_instance(), or do it in an activity."
_GATHER = "Run activities side by side with asyncio.gather() or a TaskGroup."

CALLS: dict[str, Entry] = {
    **_entries(rules.BLOCKING, "time.sleep gevent.sleep eventlet.sleep", hint=_NAP),
    **_entries(rules.BLOCKING, "builtins.input builtins.breakpoint signal.pause select.select select.poll"),
    **_entries(rules.CLOCK, "now utcnow today", under="datetime.datetime", hint=_NOW),
    **_entries(rules.CLOCK, "datetime.date.today django.utils.timezone.localdate", hint=_TODAY, arguments=0),
    **_entries(rules.CLOCK, "django.utils.timezone.now", hint=_NOW),
    **_entries(rules.CLOCK, "django.utils.timezone.localtime", hint=_NOW, arguments=0),
    **_entries(rules.CLOCK, "time time_ns monotonic monotonic_ns", under="time", hint=_TIME),
    **_entries(rules.CLOCK, "perf_counter perf_counter_ns process_time thread_time", under="time", hint=_TIME),
    **_entries(rules.CLOCK, "localtime gmtime ctime", under="time", hint=_NOW, arguments=0),
    **_entries(rules.CLOCK, "time.strftime", hint=_NOW, arguments=1),
    **_entries(
        rules.RANDOM,
        "betavariate binomialvariate choice choices expovariate gammavariate gauss getrandbits lognormvariate "
        "normalvariate paretovariate randbytes randint random randrange sample seed shuffle triangular uniform "
        "vonmisesvariate weibullvariate SystemRandom",
        under="random",
        hint=_RANDOM,
    ),
    **_entries(rules.RANDOM, "random.Random", hint=_RANDOM, arguments=0),
    **_entries(rules.RANDOM, "numpy.random.default_rng", hint=_RANDOM, arguments=0),
    **_entries(rules.RANDOM, "os.urandom os.getrandom", hint=_RANDOM),
    **_entries(rules.RANDOM, "uuid1 uuid4 uuid6 uuid7 uuid8", under="uuid", hint=_UUID),
    **_entries(rules.RANDOM, "uuid1 uuid6 uuid7 uuid8", under="uuid6", hint=_UUID),
    **_entries(rules.RANDOM, "get_random_string get_random_secret_key", under="django.utils.crypto", hint=_RANDOM),
    **_entries(
        rules.ENVIRONMENT,
        "os.getenv os.getpid os.getppid os.getcwd os.getlogin os.uname os.cpu_count os.times uuid.getnode "
        "platform.node platform.uname platform.platform platform.system locale.getlocale",
    ),
    **_entries(rules.DATABASE, "get_object_or_404 get_list_or_404", under="django.shortcuts"),
    **_entries(rules.DATABASE, "aget_object_or_404 aget_list_or_404", under="django.shortcuts"),
    **_entries(
        rules.DATABASE,
        "save asave delete adelete refresh_from_db arefresh_from_db full_clean validate_unique",
        under="django.db.models.Model()",
    ),
    **_entries(
        rules.DATABASE,
        "start astart get history signal query aquery update aupdate cancel terminate suspend resume restart purge "
        "rewind rerun_from_activity restore upgrade recover batch versions complete_activity fail_activity",
        under="durable.client",
        hint=_OTHERS,
    ),
    **_entries(rules.FILES, "builtins.open os.open os.read os.write os.fdopen codecs.open io.FileIO"),
    **_entries(
        rules.FILES,
        "remove unlink rename replace mkdir makedirs rmdir removedirs listdir scandir walk stat lstat link symlink "
        "readlink access chmod chown utime truncate",
        under="os",
    ),
    **_entries(rules.FILES, "exists isfile isdir islink getsize getmtime realpath abspath", under="os.path"),
    **_entries(
        rules.FILES,
        "read_text read_bytes write_text write_bytes open exists is_file is_dir is_symlink stat lstat iterdir glob "
        "rglob mkdir unlink rename replace touch rmdir chmod resolve symlink_to hardlink_to owner samefile",
        under="pathlib.Path()",
    ),
    **_entries(rules.FILES, "pathlib.Path.cwd pathlib.Path.home"),
    **_entries(rules.NETWORK, "open_connection start_server open_unix_connection", under="asyncio"),
    **_entries(rules.NETWORK, "celery.app.task.Task().delay celery.app.task.Task().apply_async"),
    **_entries(rules.THREADS, "Lock RLock Event Condition Semaphore", under="threading", hint=_LOCK),
    **_entries(
        rules.THREADS, "system popen fork posix_spawn execv execve kill", under="os", hint="Do it in an activity."
    ),
    **_entries(
        rules.THREADS, "create_subprocess_exec create_subprocess_shell", under="asyncio", hint="Do it in an activity."
    ),
    **_entries(rules.OTHER_LOOP, "run to_thread run_coroutine_threadsafe new_event_loop Runner", under="asyncio"),
    **{
        f"asyncio.{loop}().{method}": Entry(rule=rules.OTHER_LOOP)
        for loop in ("get_running_loop", "get_event_loop")
        for method in ("run_in_executor", "run_until_complete", "run_forever", "call_soon_threadsafe")
    },
    **_entries(rules.OTHER_LOOP, "sync_to_async async_to_sync SyncToAsync AsyncToSync", under="asgiref.sync"),
    **_entries(rules.IDENTITY, "builtins.id builtins.hash"),
    **_entries(rules.LOGGING, "builtins.print"),
    **_entries(rules.LOGGING, "debug info warning error exception critical log", under="logging"),
    **_entries(rules.LOGGING, "debug info warning error exception critical log", under="logging.Logger()"),
}
"""Forbidden to call, or to hand to something that may call it."""

USES: dict[str, Entry] = {
    **_entries(rules.ENVIRONMENT, "os.environ os.environb sys.argv sys.stdin"),
    **_entries(rules.SETTINGS, "django.conf.settings"),
    **_entries(rules.DATABASE, "connection connections", under="django.db"),
    **_entries(rules.DATABASE, "django.db.models.Manager() django.db.models.QuerySet()"),
    **_entries(rules.CACHE, "cache caches", under="django.core.cache"),
}
"""Forbidden to use in any way."""

PACKAGES: dict[str, Entry] = {
    **_entries(rules.RANDOM, "secrets random.SystemRandom() numpy.random", hint=_RANDOM),
    **_entries(rules.DATABASE, "django.db.transaction sqlite3 psycopg psycopg2 MySQLdb pymysql sqlalchemy.orm"),
    **_entries(rules.FILES, "shutil tempfile glob fileinput django.core.files"),
    **_entries(
        rules.NETWORK,
        "requests httpx urllib.request urllib3 aiohttp http.client socket smtplib ftplib imaplib poplib telnetlib "
        "boto3 botocore paramiko redis pymongo pika kombu stripe twilio openai anthropic slack_sdk google.cloud grpc "
        "django.core.mail channels.layers",
    ),
    **_entries(rules.THREADS, "threading thread multiprocessing concurrent.futures", hint=_GATHER),
    **_entries(rules.THREADS, "subprocess", hint="Do it in an activity."),
}
"""Forbidden to call anything from; classes of exceptions aside."""

MESSAGES = {
    rules.BLOCKING: "{name}() blocks the worker and is not recorded",
    rules.CLOCK: "{name}() reads the clock, and a replay reads another time",
    rules.RANDOM: "{name}() is random, and a replay draws another value",
    rules.ENVIRONMENT: "{name} may differ on the worker that replays",
    rules.SETTINGS: "{name} may change with a deploy, while instances run",
    rules.DATABASE: "{name} uses the database, which workflow code cannot reach",
    rules.CACHE: "{name} is shared and changes, so a replay finds something else",
    rules.FILES: "{name}() reaches for the file system, which another worker or a replay may find changed",
    rules.NETWORK: "{name}() talks to another system, which each replay would do again",
    rules.THREADS: "{name}() is of threads or processes, whose order a replay cannot repeat",
    rules.OTHER_LOOP: "{name}() leaves the workflow's event loop, and workflow code cannot",
    rules.IDENTITY: "{name}() differs from one process to the next",
    rules.LOGGING: "{name}() says it again on every replay",
}
"""What is wrong with a name, by rule."""

WORKFLOW = "durable.workflow"
ACTIVITY = "durable.activity"
SIDE_EFFECT = f"{WORKFLOW}.side_effect"


def _names(under: str, names: str) -> frozenset[str]:
    return frozenset(f"{under}.{name}" for name in names.split())


COROUTINES = _names("asyncio", "sleep wait wait_for") | _names(
    WORKFLOW, "wait_signal wait_until signal_instance select"
)
"""Functions that do nothing unless what they return is awaited."""

COMMANDS = _names("asyncio", "create_task ensure_future sleep gather") | _names(
    WORKFLOW,
    "set_status set_progress set_tags side_effect signal_instance wait_signal wait_until select continue_as_new "
    "patched deprecate_patch random uuid4 query update child_by_name",
)
"""What a query may not call."""

_LOOKED_FOR = _names(WORKFLOW, "defn signals logger activity_by_name") | _names(ACTIVITY, "defn heartbeat")
"""What else of ours the rules look for."""

NO_JSON = (
    _names(
        "collections.abc", "Callable Generator Iterator AsyncIterator AsyncGenerator Coroutine Awaitable AsyncIterable"
    )
    | _names("typing", "Callable Generator Iterator Coroutine Awaitable IO TextIO BinaryIO")
    | _names("io", "IOBase TextIOWrapper BytesIO StringIO")
    | _names("asyncio", "Task Future Queue Event Lock Semaphore")
    | _names("threading", "Lock Thread Event")
    | _names("django.db.models", "QuerySet Manager")
    | _names("types", "FunctionType ModuleType")
    | {"django.http.HttpRequest", "pathlib.Path"}
)
"""Types that have no JSON form, told by their names."""

SAME = {
    "logging.getLogger()": "logging.Logger()",
    "pathlib.Path().parent": "pathlib.Path()",
    "pathlib.Path().joinpath()": "pathlib.Path()",
    "pathlib.Path().with_name()": "pathlib.Path()",
    "pathlib.Path().with_suffix()": "pathlib.Path()",
    "pathlib.PurePath()": "pathlib.Path()",
    "django.db.models.QuerySet().all()": "django.db.models.QuerySet()",
    "builtins.sorted()": "builtins.list()",
}
"""What is of the same kind, for those who cannot ask the object."""

MANAGER = "django.db.models.Manager()"
_MANAGERS = frozenset({"objects", "_default_manager", "_base_manager"})
_MODEL = re.compile(r"(\.|^)([A-Z]\w*|get_user_model\(\)|get_model\(\))$")

LANDMARKS = (*CALLS, *USES, *COROUTINES, *COMMANDS, *_LOOKED_FOR, *NO_JSON)
"""Names whose objects are recognised wherever they are met, under whatever name."""

_CLASSES = frozenset(
    {
        *(path.partition("()")[0] for path in (*CALLS, *USES, *SAME) if "()" in path),
        *(path for path in NO_JSON if path.rpartition(".")[2][0].isupper()),
    }
)


def find(path: str) -> Entry | None:
    """Return what is known of a thing that is called, if it is forbidden."""
    return CALLS.get(path) or _under(path)


def is_manager(path: str, attribute: str) -> bool:
    """Say whether an attribute is a model's manager, by the names alone."""
    return attribute in _MANAGERS and _MODEL.search(path) is not None


def is_named(path: str) -> bool:
    """Say whether a rule names exactly this."""
    return path in CALLS or path in USES or path in COMMANDS or path in COROUTINES or path in _LOOKED_FOR


def is_landmark(path: str) -> bool:
    """Say whether rules look for a class of this name, or for its subclasses."""
    return path in _CLASSES or _under(path) is not None


def _under(path: str) -> Entry | None:
    package = path
    while package := package.rpartition(".")[0]:
        if package in PACKAGES:
            return PACKAGES[package]
    return None
