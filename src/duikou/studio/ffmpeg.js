// Lines for a shell that mend a sound file.

/** A line that makes an m4a file beside a file, with the file's name quoted for a shell. */
export function ffmpeg(name, how) {
  const stem = name.replace(/\.[^.]*$/, "");
  return `ffmpeg -i ${quoted(name)} ${how} ${quoted(`${stem}-mended.m4a`)}`;
}

function quoted(name) {
  const safe = name.startsWith("-") ? `./${name}` : name;
  return /^[\w./-]+$/.test(safe) ? safe : `'${safe.replaceAll("'", "'\\''")}'`;
}
