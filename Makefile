# Each target works from a clean clone: it installs what it needs and sets its build up.
# The compilers' options stand in meson.build; here is only what is done with them.

PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 10
BENCH_OPTIONS ?=
TEST_OPTIONS ?=
LONG_OPTIONS ?=
MUTATE_OPTIONS ?= --list tests/mutations.txt
SEEDS ?= 100000
NINJA = ninja

JOBS ?= $(shell nproc)

C_FILES = $(shell git ls-files --cached --others --exclude-standard 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]' \
	'include/*.h' 'examples/*.c')
SANITIZED = -Dbuildtype=debug -Doptimization=1 -Db_lundef=false

.PHONY: build dependencies-% format format-check lint test test-long test-fresh simulate sanitize sanitize-address sanitize-thread \
	mutate fuzz coverage bench bench-wan demo install clean

build: build/build.ninja
	@$(NINJA) -C build --quiet

dependencies-%:
	@scripts/install_dependencies $*

build/build.ninja: | dependencies-build
	@meson setup build >/dev/null || { cat build/meson-logs/meson-log.txt; exit 1; }

build-lint/build.ninja: | dependencies-lint
	@meson setup build-lint >/dev/null

build-asan/build.ninja: | dependencies-test
	@meson setup build-asan $(SANITIZED) -Db_sanitize=address,undefined >/dev/null

build-tsan/build.ninja: | dependencies-test
	@meson setup build-tsan $(SANITIZED) -Db_sanitize=thread >/dev/null

build-fuzz/build.ninja: | dependencies-fuzz
	@CC=clang meson setup build-fuzz $(SANITIZED) -Db_sanitize=address,undefined -Dfuzz=true \
		-Dtests=disabled >/dev/null

build-coverage/build.ninja: | dependencies-coverage
	@meson setup build-coverage -Dbuildtype=debug -Doptimization=0 -Db_coverage=true >/dev/null

format: dependencies-lint
	@clang-format -i $(C_FILES)

format-check: dependencies-lint
	@clang-format --dry-run -Werror $(C_FILES)

lint: dependencies-lint build-lint/build.ninja
	@scripts/lint build-lint $(JOBS)

# The last line of what it prints is `N passed, N failed`.
test: dependencies-test
	@$(PYTHON) scripts/run_tests.py --build build $(TEST_OPTIONS)

# `make test` runs the first 2000 seeds of each; a seed that fails says how to run it again.
simulate: build
	build/tests/sim/link_mux_sim 1 $(SEEDS)
	build/tests/sim/tunnel_sim 1 $(SEEDS)
	build/tests/sim/poll_sim 1 $(SEEDS)

# What is long by nature, about two hours: tests marked `long`, many seeds, and each file of tests that
# measures time ten times beside four busy loops. LONG_OPTIONS chooses (scripts/test_long.py --help).
test-long: dependencies-test
	@$(PYTHON) scripts/test_long.py --build build --seeds $(SEEDS) $(LONG_OPTIONS)

# `make demo` and `make test` on a minimal Debian 12, as a newcomer has it; needs root, debootstrap and
# the network. Its /dev/shm, its processes and its mounts end with it.
test-fresh:
	@scripts/test_fresh build-fresh TEST_OPTIONS="$(TEST_OPTIONS)"

sanitize: sanitize-address sanitize-thread

sanitize-address: build-asan/build.ninja
	@$(PYTHON) scripts/run_tests.py --build build-asan --sanitizer address $(TEST_OPTIONS)

# The gateway's threads: the unit tests, and the end-to-end tests marked `threads`.
sanitize-thread: build-tsan/build.ninja
	@$(PYTHON) scripts/run_tests.py --build build-tsan --sanitizer thread --mark threads $(TEST_OPTIONS)

# Not part of what must pass: it takes from a minute to many for each change. MUTATE_OPTIONS says which
# changes (scripts/mutate.py --help).
mutate: dependencies-test
	@$(PYTHON) scripts/mutate.py $(MUTATE_OPTIONS)

fuzz: build-fuzz/build.ninja
	@$(NINJA) -C build-fuzz --quiet
	@scripts/run_fuzz build-fuzz $(FUZZ_SECONDS)

coverage: build-coverage/build.ninja
	@$(PYTHON) scripts/run_tests.py --build build-coverage $(TEST_OPTIONS); code=$$?; \
		scripts/report_coverage build-coverage && exit $$code

bench: dependencies-bench build/build.ninja
	@$(NINJA) -C build --quiet culvert bench-tools
	@$(PYTHON) bench/run.py --build build $(BENCH_OPTIONS)

# Across a wide-area line; needs root and /dev/net/tun.
bench-wan: dependencies-bench build/build.ninja
	@$(NINJA) -C build --quiet culvert bench-tools tests/wan/wan_line
	@$(PYTHON) bench/wan.py --build build $(BENCH_OPTIONS)

# ONCE=1 ends by itself, with 0 if the page came through the tunnel and 1 if not.
demo: dependencies-demo build
	@$(PYTHON) scripts/demo --culvert build/culvert $(if $(filter 1,$(ONCE)),--once)

install: build/build.ninja
	@meson configure build --prefix $(PREFIX) >/dev/null
	@$(NINJA) -C build --quiet >/dev/null
	@DESTDIR=$(DESTDIR) meson install -C build --quiet --no-rebuild
	@echo "installed under $(DESTDIR)$(PREFIX)"

clean:
	@rm -rf build build-*
