"""Settings: which source wins, how values read, and errors that name the option."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs import settings
from storefs.errors import UsageError
from storefs.settings import TABLE, join_options, parse_options, resolve


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write


def test_an_option_wins_over_the_environment_over_the_file_over_the_default(config):
    path = config('connections = 3\nregion = "file"\nprofile = "file"')
    environment = {"STOREFS_REGION": "environment", "STOREFS_PROFILE": "environment"}
    found = resolve({"profile": "option"}, environment, path)
    assert found.text("profile") == "option"
    assert found.text("region") == "environment"
    assert found.whole("connections") == 3
    assert found.number("commit_interval") == 5
    assert found.text("endpoint_url") is None


def test_the_file_is_found(tmp_path, config):
    path = config("connections = 3")
    assert resolve({}, {"STOREFS_CONFIG": str(path)}, None).whole("connections") == 3
    for variable, folder in (("XDG_CONFIG_HOME", tmp_path / "xdg"), ("HOME", tmp_path / "home")):
        place = folder / "storefs" if variable == "XDG_CONFIG_HOME" else folder / ".config" / "storefs"
        place.mkdir(parents=True)
        (place / "config.toml").write_text("connections = 4")
        assert resolve({}, {variable: str(folder)}, None).whole("connections") == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1048576", 1 << 20), ("512M", 512 << 20), ("20GiB", 20 << 30), ("20gb", 20 << 30), ("1.5k", 1536),
     (" 1 T ", 1 << 40)],
)  # fmt: skip
def test_sizes(text, expected):
    assert settings.size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), ("500ms", 0.5), ("2m", 120), ("1.5h", 5400), ("1d", 86400), (" 3 s ", 3)],
)
def test_durations(text, expected):
    assert settings.duration(text) == pytest.approx(expected)


@pytest.mark.parametrize(("text", "expected"), [("", True), ("yes", True), ("ON", True), ("0", False), ("no", False)])
def test_switches(text, expected):
    assert settings.switch(text) is expected


@pytest.mark.parametrize(
    ("name", "text"),
    [("cache_size", "much"), ("cache_size", "-1"), ("cache_size", "5X"), ("cache_size", ""), ("poll_interval", "soon"),
     ("poll_interval", "-1s"), ("poll_interval", "nan"), ("ro", "maybe"), ("connections", "-1"), ("connections", "1.5"),
     ("log_level", "loud")],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_option_and_source(config, name, text):
    for arguments, where in [
        (({name: text}, {}, None), "-o"),
        (({}, {f"STOREFS_{name.upper()}": text}, None), f"STOREFS_{name.upper()}"),
        (({}, {}, config(f'{name} = "{text}"')), "config.toml"),
    ]:
        with pytest.raises(UsageError) as error:
            resolve(*arguments)
        assert name in str(error.value)
        assert where in str(error.value)


def test_an_option_that_there_is_not_is_named(config):
    with pytest.raises(UsageError, match=r"'cachesize'.*cache_size"):
        resolve({"cachesize": "1G"}, {}, None)
    with pytest.raises(UsageError, match=r"config\.toml.*'cachesize'"):
        resolve({}, {}, config("cachesize = 1"))


def test_a_file_that_is_missing_or_broken_is_named(tmp_path, config):
    with pytest.raises(UsageError, match=r"none\.toml"):
        resolve({}, {}, tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"none\.toml"):
        resolve({}, {"STOREFS_CONFIG": str(tmp_path / "none.toml")}, None)
    with pytest.raises(UsageError, match=r"config\.toml"):
        resolve({}, {}, config("connections ="))


def test_values_of_toml_need_no_quotes(config):
    found = resolve({}, {}, config("ro = true\ncommit_interval = 2.5\ncache_size = 1024"))
    assert found.flag("ro")
    assert found.number("commit_interval") == 2.5
    assert found.whole("cache_size") == 1024


def test_options_as_mount_passes_them():
    found = parse_options(r"ro,cache-size=1G,,log_file=/a\,b,sse=")
    assert found == {"ro": "", "cache_size": "1G", "log_file": "/a,b", "sse": ""}


values = st.text("ab,=/ \\", max_size=8).filter(lambda value: not value.endswith("\\"))


@given(st.dictionaries(st.sampled_from([setting.name for setting in TABLE]), values))
def test_options_survive_being_joined(options):
    assert parse_options(join_options(options)) == options


def test_every_setting_says_what_it_does():
    assert all(setting.help for setting in TABLE)
    assert len({setting.name for setting in TABLE}) == len(TABLE)
