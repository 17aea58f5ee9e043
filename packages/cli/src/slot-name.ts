import { KeyfoldError } from "@keyfold/core"

/**
 * A slot's name is an environment variable's. Those by which programs find or load code are refused unless it is forced.
 * @throws KeyfoldError `INVALID_ARGUMENT`, without the name where that is none: it may be a value in its place
 */
export function checkSlotName(name: string, isForced: boolean): void {
  if (!isSlotName(name)) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `a slot's name is letters, digits and _, no digit first, at most ${MAX_LENGTH}; its value comes from standard input, never from an argument`,
    )
  }
  if (isForced || !(STEERING.has(name.toUpperCase()) || STEERING_FAMILIES.test(name))) return
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    `${name} changes how programs find or load code: take another name, or add --force`,
  )
}

/** POSIX.1-2024, 3.216 "Name", and a bound. */
export function isSlotName(name: string): boolean {
  return name.length <= MAX_LENGTH && /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)
}

const MAX_LENGTH = 255

/** By the manuals of ld.so(8), dyld(1), npm and Git; and what sets this command itself. */
const STEERING_FAMILIES = /^(LD_|DYLD_|GIT_CONFIG|GIT_TRACE|BASH_FUNC_|KEYFOLD_|npm_config_)/i

/** Where commands, start-up files, modules, certificates and other programs come from, by program. */
const STEERING: ReadonlySet<string> = new Set(
  `
  PATH PATHEXT COMSPEC SYSTEMROOT SHELL HOME USERPROFILE PWD TMPDIR TMP TEMP XDG_CONFIG_HOME XDG_CONFIG_DIRS XDG_DATA_HOME
  IFS ENV BASH_ENV BASHOPTS SHELLOPTS PS4 PROMPT_COMMAND CDPATH ZDOTDIR EDITOR VISUAL PAGER BROWSER
  GCONV_PATH LOCPATH NLSPATH GETCONF_DIR MALLOC_TRACE GLIBC_TUNABLES HOSTALIASES RESOLV_HOST_CONF
  NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED NODE_REPL_EXTERNAL_MODULE BUN_OPTIONS INIT_CWD
  PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONBREAKPOINT PYTHONWARNINGS PYTHONEXECUTABLE PYTHONPLATLIBDIR
  PERL5LIB PERL5OPT PERL5DB PERLLIB RUBYLIB RUBYOPT GEM_HOME GEM_PATH BUNDLE_GEMFILE PHPRC PHP_INI_SCAN_DIR
  LUA_INIT LUA_PATH LUA_CPATH CLASSPATH JAVA_HOME JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS MAVEN_OPTS GRADLE_OPTS
  DOTNET_STARTUP_HOOKS CORECLR_PROFILER CORECLR_PROFILER_PATH COR_PROFILER COR_PROFILER_PATH
  GIT_SSH GIT_SSH_COMMAND GIT_ASKPASS SSH_ASKPASS GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PAGER GIT_EXTERNAL_DIFF GIT_EXEC_PATH
  GIT_PROXY_COMMAND GIT_TEMPLATE_DIR GIT_DIR GIT_WORK_TREE
  RUSTC_WRAPPER RUSTFLAGS CARGO_HOME GOFLAGS GOPATH GOROOT MAKEFLAGS CC CXX
  OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES SSL_CERT_FILE SSL_CERT_DIR
  `
    .trim()
    .split(/\s+/),
)
