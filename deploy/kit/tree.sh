# Sourced by build: the tree /kit, made of the packages' files.

# find_file FOLDER PATTERN: the one file of the packages that the shell pattern names, or nothing.
find_file() {
  local found
  # shellcheck disable=SC2086  # PATTERN is a pattern
  for found in "$1"/*/$2; do
    [ -e "$found" ] && { printf '%s\n' "$found"; return; }
  done
  return 0
}

# put PACKAGES KIT SOURCE TARGET: one program or library, with what it is linked to.
put() {
  local packages="$1" kit="$2" source target="$kit/$4" library found
  source="$(find_file "$packages" "$3")"
  [ -n "$source" ] || die "no package has $3"
  [ -e "$target" ] && return
  used="$used $(cut -d/ -f1 <<<"${source#"$packages/"}")"
  install -D -m 0755 "$(readlink -f "$source")" "$target"
  for library in $(readelf -d "$target" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    found=""
    for found in "usr/lib/$triplet/$library" "usr/lib/$library" "usr/lib64/$library" "lib/$triplet/$library"; do
      [ -n "$(find_file "$packages" "$found")" ] && break
      found=""
    done
    [ -n "$found" ] || die "$3 needs $library, and no package in deploy/kit/packages has it"
    put "$packages" "$kit" "$found" "lib/$library"
  done
}

# instead FILE OLD NEW: the path OLD in a program becomes NEW, which must be as long.
instead() {
  [ ${#2} = ${#3} ] || die "$2 and $3 differ in length"
  grep -qaF "$2" "$1" || die "$1 has no path $2 any more; see deploy/kit/tree.sh"
  sed -i "s|$2|$3|g" "$1"
}

# make_tree PACKAGES KIT
make_tree() {
  local packages="$1" kit="$2" file name applet
  triplet="$(cd "$packages/libc6/usr/lib" && for name in *-linux-gnu*; do echo "$name"; break; done)"
  used=" $(awk '!/^#/ && $2 != "kit" { print $1 }' "$here/packages" | paste -sd " ")"
  mkdir -p "$kit/bin" "$kit/libexec" "$kit/tools" "$kit/busybox" "$kit/lib" "$kit/share/terminfo" "$kit/share/doc"

  put "$packages" "$kit" usr/sbin/sshd bin/sshd
  put "$packages" "$kit" usr/lib/openssh/sshd-session bin/sshd-session
  put "$packages" "$kit" usr/lib/openssh/sshd-auth bin/sshd-auth
  put "$packages" "$kit" usr/lib/openssh/sftp-server libexec/sftp-server
  put "$packages" "$kit" usr/bin/scp libexec/scp
  put "$packages" "$kit" usr/bin/rsync libexec/rsync
  put "$packages" "$kit" usr/bin/tmux libexec/tmux
  put "$packages" "$kit" usr/bin/busybox bin/busybox
  for applet in $(applets "$kit/bin/busybox"); do ln -s ../bin/busybox "$kit/busybox/$applet"; done

  compile "$packages/musl-dev" "$kit"
  for name in start login pane hold task copy; do ln -s kit "$kit/bin/$name"; done
  for name in tmux rsync scp sftp-server; do ln -s ../bin/kit "$kit/tools/$name"; done
  # An image may have no /bin/sh.
  sed '1s|.*|#!/kit/bin/busybox sh|' "$here/../../src/stagedoor/shells/local/bin/stagedoor-get" >"$kit/tools/stagedoor-get"
  chmod 0755 "$kit/tools/stagedoor-get"
  make_relocatable "$kit"
  hide_the_image "$kit"

  add_terminals "$packages" "$kit"
  mkdir -p "$kit/lib/locale"
  cp -r "$packages/libc-bin/usr/lib/locale/C.utf8" "$kit/lib/locale/"
  used="$used libc-bin"
  cp "$here/tmux.conf" "$kit/tmux.conf"
  cp "$here/nsswitch.conf" "$kit/nsswitch.conf"

  for name in $(wanted); do
    case " $used " in *" $name "*) ;; *) die "$name gives nothing to the kit; take it out of deploy/kit/packages" ;; esac
    # A package's folder of documentation may be a link to that of another one of the same source.
    file="$(readlink "$packages/$name/usr/share/doc/$name" || echo "$name")"
    file="$(find_file "$packages" "usr/share/doc/$file/copyright")"
    [ -n "$file" ] || die "$name has no copyright file; the package that has it belongs in deploy/kit/packages"
    install -D -m 0644 "$file" "$kit/share/doc/$name/copyright"
  done
  install -D -m 0644 "$root/LICENSE" "$kit/share/doc/stagedoor/copyright"
  chmod -R u=rwX,go=rX "$kit"
  check_tree "$kit"
}

# applets BUSYBOX: the names of its programs. Another architecture's cannot be asked, and has the same.
applets() {
  "$1" --list 2>/dev/null || busybox --list 2>/dev/null || die "cannot run $1; as root: apt-get install busybox-static"
}

# compile MUSL KIT: the kit's own static program, and the library that answers for passwd(5).
# Both with the headers of the locked musl, the program linked to it; the library is linked to nothing. So this
# machine's own C library does not matter, and need not be there to compile with.
compile() {
  local musl="$1/usr" kit="$2" cc="${CC:-gcc}" lib include own flags name
  lib="$(dirname "$(find "$musl/lib" -name crt1.o | head -n 1)")"
  include="$(dirname "$(find "$musl/include" -name stdio.h | head -n 1)")"
  own="$(dirname "$("$cc" -print-libgcc-file-name)")/include"
  flags="-std=gnu17 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -ffile-prefix-map=$here=. -nostdinc -isystem $include -isystem $own"
  # shellcheck disable=SC2086  # the flags are meant to be split
  "$cc" $flags -s -static -fno-pie -no-pie -fstack-protector-strong -nostdlib -o "$kit/bin/kit" "$lib/crt1.o" "$lib/crti.o" \
    "$here"/source/[!p]*.c "$here"/source/holder/*.c "$here"/source/tunnel/*.c -Wl,--start-group "$lib/libc.a" -lgcc -Wl,--end-group "$lib/crtn.o"
  for name in passwd sshd-passwd; do
    # shellcheck disable=SC2046,SC2086
    "$cc" $flags -fPIC -shared -fno-stack-protector -nostdlib -Wl,-soname,"$name.so" -Wl,-z,now \
      $([ "$name" = passwd ] || echo -DSSHD) -o "$kit/lib/$name.so" "$here/source/passwd.c"
  done
}

# make_relocatable KIT: every program starts with the kit's own loader and finds the kit's own libraries. DT_RPATH and
# not DT_RUNPATH: it goes before LD_LIBRARY_PATH, and holds for the libraries' own needs too (ld.so(8)).
make_relocatable() {
  local kit="$1" loader file
  loader="$(basename "$(patchelf --print-interpreter "$kit/bin/sshd")")"
  for file in "$kit/bin/sshd" "$kit/bin/sshd-session" "$kit/bin/sshd-auth"; do patchelf --add-needed sshd-passwd.so "$file"; done
  for file in "$kit/libexec/sftp-server" "$kit/libexec/scp"; do patchelf --add-needed passwd.so "$file"; done
  [ -e "$kit/lib/$loader" ] || put "$packages" "$kit" "usr/lib/$triplet/$loader" "lib/$loader"
  for file in "$kit"/bin/sshd* "$kit"/libexec/*; do
    patchelf --set-interpreter "/kit/lib/$loader" --force-rpath --set-rpath /kit/lib "$file"
    follow_property "$file"
  done
}

# property_by section|header FILE: where the program's .note.gnu.property is, `OFFSET ADDRESS`, by the section's header or by
# the program header GNU_PROPERTY; nothing where it has none.
property_by() {
  local offset address
  case "$1" in
    section) read -r address offset < <(readelf -SW "$2" | sed -n 's/.* \.note\.gnu\.property *NOTE *\([0-9a-f]*\) \([0-9a-f]*\) .*/\1 \2/p') ;;
    header) read -r offset address < <(readelf -lW "$2" | sed -n 's/^ *GNU_PROPERTY *0x\([0-9a-f]*\) 0x\([0-9a-f]*\) .*/\1 \2/p') ;;
  esac || return 0
  echo $((16#$offset)) $((16#$address))
}

# follow_property FILE: patchelf before 0.18 moves that section and leaves its program header behind, and the kernel of an
# arm64 machine then starts the program no more (elf(5); parse_elf_properties in fs/binfmt_elf.c).
follow_property() {
  local file="$1" offset address start size number bytes
  [ "$(property_by section "$file")" != "$(property_by header "$file")" ] || return 0
  read -r offset address < <(property_by section "$file")
  start="$(readelf -hW "$file" | sed -n 's/.*Start of program headers: *\([0-9]*\).*/\1/p')"
  size="$(readelf -hW "$file" | sed -n 's/.*Size of program headers: *\([0-9]*\).*/\1/p')"
  [ "$size" = 56 ] || die "$file is no 64-bit program; its GNU_PROPERTY needs patchelf 0.18 or later"
  number="$(readelf -lW "$file" | awk '/^  Type / { counts = 1; next } counts && /^  [A-Z]/ { if ($1 == "GNU_PROPERTY") { print n + 0; exit } n++ }')"
  # p_offset, p_vaddr and p_paddr, eight bytes each, the lowest first; they follow p_type and p_flags.
  bytes="$(little_endian "$offset")$(little_endian "$address")$(little_endian "$address")"
  printf "$bytes" | dd of="$file" bs=1 seek="$((start + number * size + 8))" conv=notrunc status=none
}

# little_endian NUMBER: as eight bytes for printf.
little_endian() {
  local value=$1 n
  for n in 0 8 16 24 32 40 48 56; do printf '\\x%02x' $(((value >> n) & 255)); done
}

# hide_the_image KIT: paths of files that the kit's programs would read in the image, and must not: they could be of
# another libc or another release, or name modules that are not there. /kit has the file, or there is none.
hide_the_image() {
  local lib="$1/lib" loader
  loader="$(basename "$(patchelf --print-interpreter "$1/bin/sshd")")"
  instead "$lib/$loader" /etc/ld.so.cache /kit/ld.so.cache
  instead "$lib/$loader" /etc/ld.so.preload /kit/ld.so.preload
  instead "$lib/libc.so.6" /etc/nsswitch.conf /kit/nsswitch.conf
  instead "$lib/libc.so.6" /usr/lib/locale /kit/lib/locale
  instead "$lib/libcrypto.so.3" /usr/lib/ssl /kit/lib/ssl
  instead "$lib/libwrap.so.0" /etc/hosts.allow /kit/hosts.allow
  instead "$lib/libwrap.so.0" /etc/hosts.deny /kit/hosts.deny
  instead "$lib/libtinfo.so.6" /usr/share/terminfo /kit/share/terminfo
  instead "$1/libexec/tmux" /etc/tmux.conf /kit/tmux.conf
  instead "$1/bin/sshd-session" /etc/nologin /kit/nologin
  instead "$1/bin/sshd-session" /etc/ssh/sshrc /kit/ssh/sshrc
}

# add_terminals PACKAGES KIT: ncurses-base, and of ncurses-term what people's terminals call themselves.
add_terminals() {
  local packages="$1" terminfo="$2/share/terminfo" name found
  cp -r "$packages/ncurses-base/usr/lib/terminfo/." "$terminfo" 2>/dev/null ||
    cp -r "$packages/ncurses-base/usr/share/terminfo/." "$terminfo"
  for name in alacritty contour foot ghostty iterm2 iTerm2.app kitty konsole-256color mintty putty-256color \
    screen.xterm-256color st-256color vte-256color wezterm xterm-direct xterm-ghostty xterm-kitty gnome-256color; do
    found="$(find_file "$packages" "usr/share/terminfo/?/$name")"
    [ -z "$found" ] || install -D -m 0644 "$(readlink -f "$found")" "$terminfo/${name:0:1}/$name"
  done
  used="$used ncurses-base ncurses-term"
}

# check_tree KIT: nothing in it names a loader or a library outside.
check_tree() {
  local kit="$1" file library
  find "$kit" -xtype l | grep . >&2 && die "these links lead nowhere"
  for file in "$kit"/bin/sshd* "$kit"/libexec/* "$kit"/lib/*.so*; do
    for library in $(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
      [ -e "$kit/lib/$library" ] || die "$file needs $library, which is not in the kit"
    done
  done
  for file in "$kit"/bin/sshd* "$kit"/libexec/*; do
    [ "$(property_by section "$file")" = "$(property_by header "$file")" ] ||
      die "$file: its program header GNU_PROPERTY leads nowhere"
  done
  readelf -l "$kit/bin/kit" | grep -q INTERP && die "$kit/bin/kit is not static"
  return 0
}

# settle_times KIT: every file is as old as the lock, so that the same lock gives the same bytes.
settle_times() {
  made="$(sed -n 's/^# made \([^ ]*\).*/\1/p' "$lock")"
  find "$1" -exec touch -h -d "$made" {} +
}
