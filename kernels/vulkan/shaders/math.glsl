// Functions to a few units in the last place on every device; Vulkan's own may be off by 2^-11 (sin) or
// thousands of units (atan). Coefficients: Cephes library, single precision.
float exact_exp(float x) {
  if (x < -103.0) return 0.0;
  const float n = floor(x * 1.44269504 + 0.5);
  float r = x - n * 0.693359375;
  r = r + n * 2.12194440e-4;
  float p = 1.9875691500e-4;
  p = p * r + 1.3981999507e-3;
  p = p * r + 8.3334519073e-3;
  p = p * r + 4.1665795894e-2;
  p = p * r + 1.6666665459e-1;
  p = p * r + 5.0000001201e-1;
  p = p * r * r + r + 1.0;
  return ldexp(ldexp(p, int(n) / 2), int(n) - int(n) / 2);  // 2^n alone may not be a normal number
}
// x in 0 .. pi / 2.
float exact_sin(float x) {
  const float pi_4 = 0.785398163;
  const bool far = x > pi_4;
  const float y = far ? 2.0 * pi_4 - x : x, z = y * y;
  if (far) {
    float c = 2.443315711809948e-5;
    c = c * z - 1.388731625493765e-3;
    c = c * z + 4.166664568298827e-2;
    return c * z * z - 0.5 * z + 1.0;
  }
  float s = -1.9515295891e-4;
  s = s * z + 8.3321608736e-3;
  s = s * z - 1.6666654611e-1;
  return s * z * y + y;
}
// The angle of (x, y), y and x >= 0, in 0 .. pi / 2.
float exact_angle(float y, float x) {
  const bool swapped = y > x;
  const float t = swapped ? x / y : (x > 0 ? y / x : 0.0);
  const bool far = t > 0.414213562;  // tan(pi / 8)
  const float u = far ? (t - 1.0) / (t + 1.0) : t, z = u * u;
  float p = 8.05374449538e-2;
  p = p * z - 1.38776856032e-1;
  p = p * z + 1.99777106478e-1;
  p = p * z - 3.33329491539e-1;
  const float a = p * z * u + u + (far ? 0.785398163 : 0.0);
  return swapped ? 1.570796327 - a : a;
}
