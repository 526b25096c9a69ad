// The request in hand as commands: curl, Python, and `duikou sync`. No elements here.

import { request } from "./api.js";

/** What stands in for the key, which is never written anywhere. */
const KEY = "$DUIKOU_KEY";
const KEY_NOTE = "# The key is in the variable DUIKOU_KEY.";

/**
 * The request with the files by their names.
 * state: as in state.js, with a session and speech. server: the server's address, without a slash at its end.
 */
export function curl(state, server, needsKey) {
  const key = needsKey ? [`-H "Authorization: Bearer ${KEY}"`] : [];
  const call = (...words) => ["curl -fsS", ...key, ...words].join(" ");
  const upload = (name) => {
    const send = call(`--data-binary ${quoted(`@${plainFile(name)}`)}`, '"$SERVER/files"');
    return `$(${send} | jq -r .data.id)`;
  };
  const post = '-H "Content-Type: application/json" -d @-';
  const body = request(state);
  body.session_id = "$SESSION";
  body.face_choose.forEach((choice, number) => (choice.audio_id = `$SPEECH_${number + 1}`));
  const identify = call(post, '"$SERVER/videos/identify-face"');
  const create = call(post, '"$SERVER/videos/advanced-lip-sync"');
  const ask = call('"$SERVER/videos/advanced-lip-sync/$TASK"');
  return lines(
    needsKey && KEY_NOTE,
    `SERVER=${quoted(`${server}/v1`)}`,
    `VIDEO=${upload(state.video.name)}`,
    ...state.speeches.map((speech, number) => `SPEECH_${number + 1}=${upload(speech.audio.name)}`),
    `SESSION=$(${identify} <<JSON | jq -r .data.session_id\n{"video_id": "$VIDEO"}\nJSON\n)`,
    `TASK=$(${create} <<JSON | jq -r .data.task_id\n${JSON.stringify(body, null, 2)}\nJSON\n)`,
    call("-N", '"$SERVER/videos/advanced-lip-sync/$TASK/events"'),
    ...results(state).map(([field, name]) => {
      const url = `$(${ask} | jq -r '.data.task_result.videos[0].${field}')`;
      return `curl -fsS -o ${quoted(plainFile(name))} "${url}"`;
    }),
  );
}

/** The request as a Python program with `duikou.client`. */
export function python(state, server, needsKey) {
  const options = [];
  if (state.watermark) options.push("watermark=True");
  if (state.syncMode) options.push(`sync_mode=${literal(state.syncMode)}`);
  const choices = state.speeches.flatMap((speech) => [
    "        FaceChoice(",
    `            ${literal(speech.audio.name)},`,
    `            face_id=${literal(speech.faceId)},`,
    `            trim_start_ms=${whole(speech.trimStartMs)},`,
    `            trim_end_ms=${whole(speech.trimEndMs)},`,
    `            insert_ms=${whole(speech.insertMs)},`,
    `            audio_volume=${number(speech.volume)},`,
    `            original_volume=${number(state.originalVolume)},`,
    `            original_scope=${literal(state.originalScope)},`,
    "        ),",
  ]);
  return lines(
    needsKey && "import os\n",
    "from duikou.client import Duikou, FaceChoice\n",
    `with Duikou(${[literal(server), needsKey && 'os.environ["DUIKOU_KEY"]'].filter(Boolean).join(", ")}) as duikou:`,
    `    session = duikou.identify(${literal(state.video.name)})`,
    "    choices = [",
    ...choices,
    "    ]",
    `    task = duikou.lip_sync(${["session", "choices", ...options].join(", ")})`,
    "    done = duikou.wait(task, progress=lambda task: print(task.status, task.stage, task.progress))",
    `    duikou.download(done, ${literal(resultName(state, "synced"))})`,
    state.watermark && `    duikou.download(done.videos[0].watermark_url, ${literal(resultName(state, "marked"))})`,
  );
}

/** The request as a line for `duikou sync`; with a plan file where the pieces of speech differ in their times. */
export function commandLine(state, server, needsKey) {
  const file = (name) => quoted(plainFile(name));
  const words = ["duikou sync", file(state.video.name)];
  const [first] = state.speeches;
  const alike = ["insertMs", "trimStartMs", "trimEndMs", "volume"].every((field) =>
    state.speeches.every((speech) => speech[field] === first[field]),
  );
  if (alike) {
    for (const speech of state.speeches) words.push(`--say ${quoted(speech.faceId)} ${file(speech.audio.name)}`);
    words.push(`--at ${whole(first.insertMs)}`, `--trim ${trim(first)}`);
    words.push(`--volume ${first.volume}`, `--original-volume ${state.originalVolume}`);
    words.push(`--original-scope ${state.originalScope}`);
  } else {
    words.push("--plan plan.json");
  }
  if (state.syncMode) words.push(`--sync-mode ${state.syncMode}`);
  if (state.watermark) words.push(`--watermark ${file(resultName(state, "marked"))}`);
  words.push(`-o ${file(resultName(state, "synced"))}`, `--server ${quoted(server)}`);
  return lines(
    needsKey && KEY_NOTE,
    !alike && `cat > plan.json <<'JSON'\n${JSON.stringify(plan(state), null, 2)}\nJSON`,
    words.join(" "),
  );
}

function plan(state) {
  return state.speeches.map((speech) => ({
    face: speech.faceId,
    audio: speech.audio.name,
    at: whole(speech.insertMs),
    trim: trim(speech),
    volume: speech.volume,
    original_volume: state.originalVolume,
    original_scope: state.originalScope,
  }));
}

function trim(speech) {
  return `${whole(speech.trimStartMs)}:${whole(speech.trimEndMs)}`;
}

/** The files that a finished task has, as pairs of a field of the answer and a name. */
function results(state) {
  const plain = ["url", resultName(state, "synced")];
  return state.watermark ? [plain, ["watermark_url", resultName(state, "marked")]] : [plain];
}

function resultName(state, kind) {
  return `${state.video.name.replace(/\.\w{1,5}$/, "")}.${kind}.mp4`;
}

/** A file name that no program takes for an option. */
function plainFile(name) {
  return name.startsWith("-") ? `./${name}` : name;
}

/** A word of a POSIX shell. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A Python literal: JSON's strings are ones, and so are its numbers. */
function literal(text) {
  return JSON.stringify(text);
}

function number(value) {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

function whole(ms) {
  return Math.round(ms);
}

function lines(...all) {
  return all.filter(Boolean).join("\n");
}
