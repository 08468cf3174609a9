// The cortex itself: the mesh, what is drawn of it with WebGL 2, and which vertex lies under a point.

const N = 10242; // vertices of a hemisphere; the right one's follow the left one's
const UNIT = 1 / 200; // mm of one step of a coordinate

const decode = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;

// In this order: int16 coordinates of pial, inflated (x, y, z) and flat (x, y); uint16 faces, the same
// for both hemispheres; a bit for each face of each hemisphere that the flat surface has, highest bit
// first; uint8 depth of the sulci, 128 at the border.
function readMesh(text) {
  const buffer = decode(text);
  let at = 0;
  const next = (Type, n) => { const part = new Type(buffer, at, n); at += part.byteLength; return part; };
  const mesh = {};
  for (const [kind, n] of [['pial', 6], ['inflated', 6], ['flat', 4]]) mesh[kind] = next(Int16Array, n * N);
  const faces = next(Uint16Array, 3 * (2 * N - 4)), nFaces = faces.length / 3;
  const inFlat = next(Uint8Array, 2 * nFaces / 8);
  mesh.sulci = next(Uint8Array, 2 * N);
  // Faces of the flat surface first, so that the cut can be opened by drawing fewer.
  mesh.sides = [0, 1].map(side => {
    const kept = [], cut = [];
    for (let k = 0; k < nFaces; k++) {
      const bit = side * nFaces + k;
      const list = inFlat[bit >> 3] >> (7 - bit % 8) & 1 ? kept : cut;
      for (let j = 0; j < 3; j++) list.push(faces[3 * k + j] + side * N);
    }
    return { faces: Uint16Array.from(kept.concat(cut)), nFlat: kept.length };
  });
  mesh.normals = ['pial', 'inflated'].map(kind => normals(mesh[kind], mesh.sides));
  return mesh;
}

function normals(xyz, sides) {
  const sum = new Float32Array(xyz.length), out = new Int8Array(xyz.length);
  for (const { faces } of sides) {
    for (let k = 0; k < faces.length; k += 3) {
      const [a, b, c] = [3 * faces[k], 3 * faces[k + 1], 3 * faces[k + 2]];
      const [u, v] = [b, c].map(end => [0, 1, 2].map(i => xyz[end + i] - xyz[a + i]));
      for (let i = 0; i < 3; i++) {
        const n = u[(i + 1) % 3] * v[(i + 2) % 3] - u[(i + 2) % 3] * v[(i + 1) % 3];
        sum[a + i] += n; sum[b + i] += n; sum[c + i] += n;
      }
    }
  }
  for (let k = 0; k < sum.length; k += 3) {
    const length = Math.hypot(sum[k], sum[k + 1], sum[k + 2]) || 1;
    for (let i = 0; i < 3; i++) out[k + i] = Math.round(127 * sum[k + i] / length);
  }
  return out;
}

// Where a vertex stands, in mm: the same arithmetic for the screen (GLSL) and for the cursor (`place`).
const PLACE = `#version 300 es
precision highp float;
uniform float shape, together;
uniform mat3 turn;
uniform vec2 middle, scale;
vec3 place(vec3 pial, vec3 inflated, vec2 flatten, float side) {
  vec3 a = pial * ${UNIT} + vec3(side * mix(-34., 3., together), 18., -15.);
  vec3 b = inflated * ${UNIT} + vec3(side * 50. * together, 0., 0.);
  vec3 c = vec3(flatten.x * ${UNIT} + side * 170., 0., flatten.y * ${UNIT});
  return shape < 1. ? mix(a, b, shape) : mix(b, c, shape - 1.);
}
vec4 project(vec3 at) {
  vec3 eye = turn * at;
  return vec4((eye.xy - middle) * scale, -eye.z / 500., 1.);
}`;
const SURFACE = [`${PLACE}
in vec3 pial, inflated, pialNormal, inflatedNormal;
in vec2 flatten;
in vec4 colour;
in float sulcus;
out vec4 blended;
flat out vec4 solid;
out float light, depth;
void main() {
  float side = gl_VertexID < ${N} ? -1. : 1.;
  gl_Position = project(place(pial, inflated, flatten, side));
  vec3 normal = normalize(turn * mix(pialNormal, inflatedNormal, min(shape, 1.)));
  light = mix(0.66 + 0.34 * max(normal.z, 0.), 1., clamp(shape - 1., 0., 1.));
  blended = solid = colour;
  depth = sulcus;
}`, `#version 300 es
precision highp float;
uniform bool choices;
in vec4 blended;
flat in vec4 solid;
in float light, depth;
out vec4 pixel;
void main() {
  // As in the still picture, a triangle is coloured where all its corners have a value.
  vec3 bare = vec3(depth > 0.502 ? 0.62 : 0.80);
  vec3 rgb = blended.a < 0.999 ? bare : choices ? solid.rgb : blended.rgb;
  pixel = vec4(rgb * light, 1.);
}`];
// A line of the width of some pixels between two places, as two triangles.
const LINES = [`${PLACE}
in vec3 pial, inflated, pialEnd, inflatedEnd, colour;
in vec2 flatten, flattenEnd;
in float side;
uniform vec2 thickness;
uniform bool halo;
uniform float only;
out vec3 rgb;
void main() {
  vec4 a = project(place(pial, inflated, flatten, side));
  vec4 b = project(place(pialEnd, inflatedEnd, flattenEnd, side));
  vec2 along = (b.xy - a.xy) / thickness;
  along = length(along) > 1e-6 ? normalize(along) : vec2(1., 0.);
  bool end = gl_VertexID % 2 == 1;
  float across = gl_VertexID == 0 || gl_VertexID == 1 || gl_VertexID == 3 ? 1. : -1.;
  gl_Position = end ? b : a;
  gl_Position.xy += (across * vec2(-along.y, along.x) + (end ? 0.4 : -0.4) * along) * thickness;
  gl_Position.z -= halo ? 0.006 : 0.007;
  if (side == -only) gl_Position = vec4(2., 2., 2., 1.);  // of the hemisphere that is not shown
  rgb = halo ? vec3(1.) : colour;
}`, `#version 300 es
precision highp float;
in vec3 rgb;
out vec4 pixel;
void main() { pixel = vec4(rgb, 1.); }`];

function makeProgram(gl, [vertex, fragment]) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

// Borders of regions: from the middle of one crossed edge of a triangle to that of the other.
function borders(mesh, regions) {
  const parts = [[], []]; // of the flat surface, and cut there
  const middle = (xyz, d, a, b) => Array.from({ length: d }, (_, i) => (xyz[d * a + i] + xyz[d * b + i]) / 2);
  for (const { mask, colour } of regions) {
    mesh.sides.forEach(({ faces, nFlat }, side) => {
      for (let k = 0; k < faces.length; k += 3) {
        const edges = [[0, 1], [1, 2], [2, 0]].map(edge => edge.map(i => faces[k + i]));
        const crossed = edges.filter(([a, b]) => mask[a] !== mask[b]);
        if (!crossed.length) continue;
        const ends = crossed.flatMap(([a, b]) => [
          ...middle(mesh.pial, 3, a, b), ...middle(mesh.inflated, 3, a, b), ...middle(mesh.flat, 2, a, b)]);
        parts[k < nFlat ? 0 : 1].push([...ends, ...colour, side ? 1 : -1]);
      }
    });
  }
  const all = parts.flat();
  return { segments: Float32Array.from(all.flat()), n: all.length, nFlat: parts[0].length };
}

function makeScene(canvas, mesh, regions) {
  const gl = canvas.getContext('webgl2', { antialias: true, premultipliedAlpha: true });
  if (!gl) return null;
  const fill = (array, kind = gl.ARRAY_BUFFER) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(kind, buffer);
    gl.bufferData(kind, array, gl.STATIC_DRAW);
    return buffer;
  };
  const surface = makeProgram(gl, SURFACE), lines = makeProgram(gl, LINES);
  const arrays = [gl.createVertexArray(), gl.createVertexArray()];
  const point = (program, name, size, kind, normalised, stride = 0, offset = 0, each = 0) => {
    const at = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, size, kind, normalised, stride, offset);
    gl.vertexAttribDivisor(at, each);
  };
  gl.bindVertexArray(arrays[0]);
  fill(mesh.pial); point(surface, 'pial', 3, gl.SHORT, false);
  fill(mesh.inflated); point(surface, 'inflated', 3, gl.SHORT, false);
  fill(mesh.flat); point(surface, 'flatten', 2, gl.SHORT, false);
  fill(mesh.sulci); point(surface, 'sulcus', 1, gl.UNSIGNED_BYTE, true);
  ['pialNormal', 'inflatedNormal'].forEach((name, k) => {
    fill(mesh.normals[k]);
    point(surface, name, 3, gl.BYTE, true);
  });
  const colours = fill(new Uint8Array(8 * N)); point(surface, 'colour', 4, gl.UNSIGNED_BYTE, true);
  const [left, right] = mesh.sides, all = new Uint16Array(left.faces.length + right.faces.length);
  all.set(left.faces); all.set(right.faces, left.faces.length);
  fill(all, gl.ELEMENT_ARRAY_BUFFER);
  gl.bindVertexArray(arrays[1]);
  const border = borders(mesh, regions);
  fill(border.segments);
  let offset = 0;
  for (const [name, size] of [
    ['pial', 3], ['inflated', 3], ['flatten', 2], ['pialEnd', 3], ['inflatedEnd', 3], ['flattenEnd', 2],
    ['colour', 3], ['side', 1],
  ]) {
    point(lines, name, size, gl.FLOAT, false, 80, offset, 1);
    offset += 4 * size;
  }

  const set = (program, view) => {
    const at = name => gl.getUniformLocation(program, name);
    gl.useProgram(program);
    gl.uniform1f(at('shape'), view.shape);
    gl.uniform1f(at('together'), view.sides.length - 1);
    gl.uniformMatrix3fv(at('turn'), false, view.turn);
    gl.uniform2fv(at('middle'), view.middle);
    gl.uniform2fv(at('scale'), view.scale);
    return at;
  };
  return {
    gl,
    colour(rgba) {
      gl.bindBuffer(gl.ARRAY_BUFFER, colours);
      gl.bufferData(gl.ARRAY_BUFFER, rgba, gl.DYNAMIC_DRAW);
    },
    draw(view, choices, outlined) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.enable(gl.DEPTH_TEST);
      gl.bindVertexArray(arrays[0]);
      gl.uniform1i(set(surface, view)('choices'), choices);
      for (const side of view.sides) {
        const { faces, nFlat } = mesh.sides[side];
        const n = view.shape > 1 ? nFlat : faces.length, first = side * left.faces.length;
        gl.drawElements(gl.TRIANGLES, n, gl.UNSIGNED_SHORT, 2 * first);
      }
      const n = view.shape > 1 ? border.nFlat : border.n;
      if (!outlined || !n) return;
      gl.bindVertexArray(arrays[1]);
      const at = set(lines, view);
      gl.uniform1f(at('only'), view.sides.length > 1 ? 0 : view.sides[0] ? 1 : -1);
      for (const [halo, width] of [[1, 2.2], [0, 1]]) {
        const half = width * (canvas.width / canvas.clientWidth || 1);
        gl.uniform1i(at('halo'), halo);
        gl.uniform2f(at('thickness'), 2 * half / canvas.width, 2 * half / canvas.height);
        gl.drawArraysInstanced(gl.TRIANGLES, 0, 6, n);
      }
    },
  };
}

// Where a vertex stands on the screen, (x, y) in [-1, 1] and z towards the reader.
function projectOne({ pial, inflated, flat }, { shape, turn, middle, scale, sides }, k) {
  const together = sides.length - 1, side = k < N ? -1 : 1, [i, j] = [3 * k, 2 * k];
  const apart = side * (together ? 3 : -34);
  const a = [pial[i] * UNIT + apart, pial[i + 1] * UNIT + 18, pial[i + 2] * UNIT - 15];
  const b = [inflated[i] * UNIT + side * 50 * together, inflated[i + 1] * UNIT, inflated[i + 2] * UNIT];
  const c = [flat[j] * UNIT + side * 170, 0, flat[j + 1] * UNIT];
  const [from, to, s] = shape < 1 ? [a, b, shape] : [b, c, shape - 1];
  const [x, y, z] = from.map((value, axis) => value + s * (to[axis] - value));
  return [
    (turn[0] * x + turn[3] * y + turn[6] * z - middle[0]) * scale[0],
    (turn[1] * x + turn[4] * y + turn[7] * z - middle[1]) * scale[1],
    turn[2] * x + turn[5] * y + turn[8] * z,
  ];
}

function project(mesh, view) {
  const out = new Float32Array(6 * N);
  for (let k = 0; k < 2 * N; k++) out.set(projectOne(mesh, view, k), 3 * k);
  return out;
}

// The vertex of the nearest triangle under a point that is closest to it, or -1.
function pick(mesh, view, x, y) {
  const p = project(mesh, view);
  let best = -1, nearest = -Infinity;
  for (const side of view.sides) {
    const { faces, nFlat } = mesh.sides[side], n = view.shape > 1 ? nFlat : faces.length;
    for (let k = 0; k < n; k += 3) {
      const a = 3 * faces[k], b = 3 * faces[k + 1], c = 3 * faces[k + 2];
      const area = (p[b] - p[a]) * (p[c + 1] - p[a + 1]) - (p[c] - p[a]) * (p[b + 1] - p[a + 1]);
      if (!area) continue;
      const v = ((x - p[a]) * (p[c + 1] - p[a + 1]) - (p[c] - p[a]) * (y - p[a + 1])) / area;
      const w = ((p[b] - p[a]) * (y - p[a + 1]) - (x - p[a]) * (p[b + 1] - p[a + 1])) / area, u = 1 - v - w;
      if (u < 0 || v < 0 || w < 0) continue;
      const z = u * p[a + 2] + v * p[b + 2] + w * p[c + 2];
      if (z > nearest) { nearest = z; best = faces[u >= v && u >= w ? k : v >= w ? k + 1 : k + 2]; }
    }
  }
  return best;
}
