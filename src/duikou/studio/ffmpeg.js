// Lines for a shell that mend a file.

/**
 * A line that makes a changed copy beside a file, with the file's name quoted for a shell. extension: of the copy;
 * the file's own without it.
 */
export function ffmpeg(name, how, extension) {
  const dot = name.lastIndexOf(".");
  const [stem, own] = dot > 0 ? [name.slice(0, dot), name.slice(dot + 1)] : [name, extension];
  return `ffmpeg -i ${quoted(name)} ${how} ${quoted(`${stem}-mended.${extension ?? own}`)}`;
}

/** Double quotes where they do, as they work in every shell. */
function quoted(name) {
  const safe = name.startsWith("-") ? `./${name}` : name;
  if (/^[\w./-]+$/.test(safe)) return safe;
  return /["'$`\\!%]/.test(safe) ? `'${safe.replaceAll("'", "'\\''")}'` : `"${safe}"`;
}
