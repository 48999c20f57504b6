// Turns the still picture of the map into a surface that can be turned: see surface.py.
(async () => {
  const place = document.getElementById("surface");
  const [plot, controls, hint] = [".turn", ".controls", ".hint"].map((each) => place.querySelector(each));
  const text = (id) => document.getElementById(id).textContent;
  const inflate = async (packed) => {
    const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const trial = document.createElement("canvas");
  if (typeof DecompressionStream === "undefined") {
    hint.textContent = "This browser is too old to turn the map here: use one of 2023 or later.";
    return;
  }
  if (!(trial.getContext("webgl2") || trial.getContext("webgl"))) {
    hint.textContent = "This browser does not draw in three dimensions (it has no WebGL): the map cannot be turned here.";
    return;
  }
  try {
    const library = document.createElement("script");
    library.textContent = new TextDecoder().decode(await inflate(text("surface-library")));
    document.head.append(library);
    const maps = JSON.parse(text("surface-maps"));
    for (const each of maps) await prepare(each);
    plot.hidden = controls.hidden = false;
    place.classList.add("turns");
    await draw(maps[0]);
    addControls(maps);
    hint.textContent = "Drag to turn, wheel to zoom, right button to move. The house above the picture brings the first view back.";
    place.dataset.state = "drawn";
  } catch (error) {
    plot.hidden = controls.hidden = true;
    place.classList.remove("turns");
    hint.textContent = `The map cannot be turned here (${error.message}).`;
    place.dataset.state = "failed";
  }

  async function prepare(map) {
    map.values = new Uint8Array(await inflate(map.data));
    map.above = new Float64Array(257);
    for (const value of map.values) map.above[value]++;
    for (let i = 255; i >= 0; i--) map.above[i] += map.above[i + 1];
  }

  // Naive surface nets: a point in each cell of eight voxels that the surface crosses, at the mean of where it crosses the
  // cell's edges, and a square of four points around each edge that it crosses. Points are shared, so shading is smooth.
  function net(map) {
    const n = map.box, half = Math.floor(n / 2), values = map.values, level = map.level + 0.5;
    const steps = [1, n, n * n], corner = [0, 1, 2, 3, 4, 5, 6, 7];
    const offset = corner.map((c) => (c & 1) + ((c >> 1) & 1) * n + (c >> 2) * n * n);
    const point = new Int32Array(n ** 3), x = [], y = [], z = [], i = [], j = [], k = [];
    for (let c = 0; c < n - 1; c++) for (let b = 0; b < n - 1; b++) for (let a = 0; a < n - 1; a++) {
      const here = a + b * n + c * n * n;
      let inside = 0;
      for (const each of corner) if (values[here + offset[each]] > level) inside |= 1 << each;
      if (inside === 0 || inside === 255) continue;
      const sum = [0, 0, 0];
      let crossed = 0;
      for (const each of corner) for (let axis = 0; axis < 3; axis++) {
        const other = each | (1 << axis);
        if (other === each || ((inside >> each) & 1) === ((inside >> other) & 1)) continue;
        const low = values[here + offset[each]], high = values[here + offset[other]];
        for (let d = 0; d < 3; d++) sum[d] += (each >> d) & 1;
        sum[axis] += (level - low) / (high - low);
        crossed++;
      }
      point[here] = x.push((a + sum[0] / crossed - half) * map.pixel) - 1;
      y.push((b + sum[1] / crossed - half) * map.pixel);
      z.push((c + sum[2] / crossed - half) * map.pixel);
      for (let axis = 0; axis < 3; axis++) {
        const [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
        if ([a, b, c][u] === 0 || [a, b, c][v] === 0 || (inside & 1) === ((inside >> (1 << axis)) & 1)) continue;
        const square = [here, here - steps[u], here - steps[u] - steps[v], here - steps[v]].map((cell) => point[cell]);
        if (!(inside & 1)) square.reverse();
        i.push(square[0], square[0]);
        j.push(square[1], square[2]);
        k.push(square[2], square[3]);
      }
    }
    return { x, y, z, i, j, k };
  }

  function draw(map) {
    const side = { title: { text: "" }, range: [-map.box * map.pixel / 2, map.box * map.pixel / 2],
      showbackground: false, gridcolor: "#e3e6ea", zeroline: false, ticksuffix: " Å", nticks: 5,
      tickfont: { size: 10, color: "#555" } };
    const axis = (name) => ({ ...side, title: { text: `${name} (Å)`, font: { size: 12, color: "#333" } }, ticksuffix: "" });
    const surface = {
      type: "mesh3d", ...net(map), color: "#6fa3dc", hoverinfo: "skip", flatshading: false,
      lighting: { ambient: 0.25, diffuse: 0.7, specular: 0.15, roughness: 0.7, fresnel: 0.05 },
      lightposition: { x: 1000, y: -400, z: 2000 },
    };
    const scene = { xaxis: axis("x"), yaxis: axis("y"), zaxis: axis("z"), aspectmode: "cube", dragmode: "orbit",
      camera: { eye: { x: 1.12, y: -1.12, z: 0.95 }, center: { x: 0, y: 0, z: -0.15 }, projection: { type: "perspective" } } };
    const layout = { scene, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "white", uirevision: "kept",
      font: { family: "system-ui, sans-serif" } };
    return Plotly.react(plot, [surface], layout,
      { responsive: true, displaylogo: false, displayModeBar: true, modeBarButtons: [["toImage", "resetCameraDefault3d"]] });
  }

  function addControls(maps) {
    let now = maps[0], isBusy = false, isOld = false;
    const label = document.createElement("label"), slider = document.createElement("input"), told = document.createElement("output");
    slider.type = "range";
    slider.step = "1";
    slider.min = "1";
    slider.max = "254";
    label.append("Level of the surface ", slider);
    const tell = () => {
      const level = Number(slider.value);
      const volume = now.above[Math.min(256, level + 1)] * now.pixel ** 3;
      const grey = now.low + (now.high - now.low) * level / 255;
      told.textContent = `${grey.toPrecision(3)}: encloses ${(volume / 1000).toFixed(0)} nm³, as much as ` +
        `${(volume / now.dalton / 1000).toPrecision(3)} kDa of protein fill`;
    };
    const begin = () => { slider.value = String(now.level); tell(); };
    slider.addEventListener("input", async () => {
      tell();
      now.level = Number(slider.value);
      isOld = true;
      if (isBusy) return;
      isBusy = true;
      while (isOld) {
        isOld = false;
        await draw(now);
      }
      isBusy = false;
    });
    if (maps.length > 1) {
      const choice = document.createElement("select");
      choice.setAttribute("aria-label", "map");
      maps.forEach((each, k) => choice.add(new Option(each.name, String(k))));
      choice.addEventListener("change", () => { now = maps[Number(choice.value)]; begin(); draw(now); });
      controls.append(choice);
    }
    controls.append(label, told);
    begin();
  }
})();
